"""Settings: frozen, validated, read from YAML plus overrides `a.b=c`. No TensorFlow here.

The defaults are what the official code does (mahyarnajibi/SSH), since the published AP comes from
it. Each field names its source: an official file or a section of the paper (arXiv:1708.03979).
"""

from ssh_tf.config.base import Precision as Precision
from ssh_tf.config.base import Settings as Settings
from ssh_tf.config.detection import EXPORT_ROWS as EXPORT_ROWS
from ssh_tf.config.detection import MAX_PIXELS as MAX_PIXELS
from ssh_tf.config.detection import PRECISIONS as PRECISIONS
from ssh_tf.config.detection import PRESETS as PRESETS
from ssh_tf.config.detection import REDACTIONS as REDACTIONS
from ssh_tf.config.detection import DetectConfig as DetectConfig
from ssh_tf.config.detection import DetectPrecision as DetectPrecision
from ssh_tf.config.detection import ExportConfig as ExportConfig
from ssh_tf.config.detection import Redaction as Redaction
from ssh_tf.config.experiment import Config as Config
from ssh_tf.config.experiment import load as load
from ssh_tf.config.experiment import shipped as shipped
from ssh_tf.config.experiment import to_yaml as to_yaml
from ssh_tf.config.experiment import validate as validate
from ssh_tf.config.model import M1 as M1
from ssh_tf.config.model import M2 as M2
from ssh_tf.config.model import M3 as M3
from ssh_tf.config.model import LossConfig as LossConfig
from ssh_tf.config.model import ModelConfig as ModelConfig
from ssh_tf.config.model import ModuleConfig as ModuleConfig
from ssh_tf.config.training import DataConfig as DataConfig
from ssh_tf.config.training import TrainConfig as TrainConfig
from ssh_tf.config.training import ValidationConfig as ValidationConfig
