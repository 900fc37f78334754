"""Every name that crosses a process: record keys, serving inputs and outputs."""

# Record keys: those of the TF Object Detection API, so that its readers read our records.
IMAGE_ENCODED = "image/encoded"
IMAGE_FORMAT = "image/format"
IMAGE_FILENAME = "image/filename"
IMAGE_SOURCE_ID = "image/source_id"
IMAGE_HEIGHT = "image/height"
IMAGE_WIDTH = "image/width"
# Not of that API: EXIF's orientation, where the image is to be turned, and the annotated boxes,
# those without an area included.
IMAGE_ORIENTATION = "image/orientation"
ANNOTATED_FACES = "image/annotated_faces"
BOX_XMIN = "image/object/bbox/xmin"
BOX_YMIN = "image/object/bbox/ymin"
BOX_XMAX = "image/object/bbox/xmax"
BOX_YMAX = "image/object/bbox/ymax"
CLASS_TEXT = "image/object/class/text"
CLASS_LABEL = "image/object/class/label"
# WIDER's attributes, one int64 per face, under this prefix: image/object/face/blur, ...
FACE_PREFIX = "image/object/face/"

MANIFEST = "manifest.json"
RECORDS_SCHEMA = 1
FACE_LABEL = 1
FACE_TEXT = "face"

# Serving: signatures, their inputs and their outputs.
SERVING_DEFAULT = "serving_default"
IMAGE_BYTES = "image_bytes"
IMAGE_TENSOR = "image_tensor"
DETECTION_BOXES = "detection_boxes"
DETECTION_SCORES = "detection_scores"
DETECTION_CLASSES = "detection_classes"
NUM_DETECTIONS = "num_detections"
RAW = "raw"
IMAGES = "images"
STATUS = "detection_status"
IMAGE_SIZE = "image_size"
# Files of a SavedModel: its graph, and requests that a server runs when it loads it.
SAVED_MODEL = "saved_model.pb"
WARMUP = "assets.extra/tf_serving_warmup_requests"

# Values of STATUS, one per image. Anything but OK comes with no detections.
STATUS_OK = 0
STATUS_NOT_AN_IMAGE = 1
STATUS_TOO_LARGE = 2
STATUS_CORRUPT = 3
