"""What stands beside the stand-in 4D? Other systems pyERP reads: rates, bookkeeping, images, a warehouse, a folder.

Their rows fit the rows of 4D: receipts pay its invoices, images and movements belong to its variants. Addresses
and logins reach the program as environment variables, which `mappings/sources/` names.
"""

from legacy_sync.demo.web_services.beside import Beside, OtherSystems
from legacy_sync.demo.web_services.bookkeeping import Bookkeeping
from legacy_sync.demo.web_services.images import ImageCms
from legacy_sync.demo.web_services.rates import Rates
from legacy_sync.demo.web_services.server import WebServices

__all__ = ["Beside", "Bookkeeping", "ImageCms", "OtherSystems", "Rates", "WebServices"]
