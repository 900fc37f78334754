"""Tests of the names that cross a process: changing one breaks records or clients."""

from ssh_tf import signature


def test_record_keys_are_the_object_detection_api_s():
    assert {name: value for name, value in vars(signature).items() if "image/" in str(value)} == {
        "IMAGE_ENCODED": "image/encoded",
        "IMAGE_FORMAT": "image/format",
        "IMAGE_FILENAME": "image/filename",
        "IMAGE_SOURCE_ID": "image/source_id",
        "IMAGE_HEIGHT": "image/height",
        "IMAGE_WIDTH": "image/width",
        "IMAGE_ORIENTATION": "image/orientation",  # ours
        "ANNOTATED_FACES": "image/annotated_faces",  # ours
        "BOX_XMIN": "image/object/bbox/xmin",
        "BOX_YMIN": "image/object/bbox/ymin",
        "BOX_XMAX": "image/object/bbox/xmax",
        "BOX_YMAX": "image/object/bbox/ymax",
        "CLASS_TEXT": "image/object/class/text",
        "CLASS_LABEL": "image/object/class/label",
        "FACE_PREFIX": "image/object/face/",
    }


def test_serving_names_are_those_that_clients_use():
    assert signature.SERVING_DEFAULT == "serving_default"
    assert (signature.IMAGE_BYTES, signature.IMAGE_TENSOR) == ("image_bytes", "image_tensor")
    assert signature.DETECTION_BOXES == "detection_boxes"
    assert signature.DETECTION_SCORES == "detection_scores"
    assert signature.DETECTION_CLASSES == "detection_classes"
    assert signature.NUM_DETECTIONS == "num_detections"
    assert (signature.STATUS, signature.IMAGE_SIZE) == ("detection_status", "image_size")


def test_the_face_s_class_is_1_since_0_means_background():
    assert (signature.FACE_LABEL, signature.FACE_TEXT) == (1, "face")


def test_the_records_schema_is_1():
    assert (signature.RECORDS_SCHEMA, signature.MANIFEST) == (1, "manifest.json")
