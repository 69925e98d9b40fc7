from beit_mm.apis.results.attention_maps import AttentionMaps
from beit_mm.apis.results.classifications import Classifications
from beit_mm.apis.results.embeddings import Embeddings
from beit_mm.apis.results.reconstructions import Reconstructions
from beit_mm.apis.results.result import Result
from beit_mm.apis.results.segmentations import Segmentations
from beit_mm.apis.results.tokens import Tokens
