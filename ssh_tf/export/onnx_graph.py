"""What stands before and behind the network in an ONNX file, in ONNX operators.

The converter of networks knows neither the official resize nor NMS on boxes that count their last
pixel. This is `ssh_tf.inference.arrays` once more; each export is checked against that.
"""

from collections.abc import Sequence

import onnx

from ssh_tf.config import DetectConfig, ModuleConfig
from ssh_tf.geometry.anchors import base_anchors

# The file's input and outputs.
IMAGE, BOXES, SCORES, COUNT = "image", "boxes", "scores", "count"


def scaling(config: DetectConfig, means: Sequence[float]) -> onnx.GraphProto:
    """From `image` to the network's `images`, their `net_size` `[2]` and the `scale`.

    `images` are what `Preprocess` gives: BGR less the means, mean blue, green and red.

    ONNX rounds a scaled side down, the official resize to the nearest: rows and columns that repeat
    the last ones are added before, which change no pixel, and what is too much is cut off.
    """
    return onnx.parser.parse_graph(f"""
        scaling (uint8[1, H, W, 3] {IMAGE}) => (float[1, h, w, 3] images)
        <double shorter_px = {{{config.shorter_px}}}, double longer_px = {{{config.longer_px}}},
         int64[1] one = {{1}}, float[1] one_float = {{1}}, int64[1] none = {{0}},
         int64[5] none_before = {{0, 0, 0, 0, 0}}, int64[2] origin = {{0, 0}},
         int64[2] rows_columns = {{1, 2}}, int64[3] blue_green_red = {{2, 1, 0}},
         float[3] means = {{{", ".join(map(repr, means))}}}>
        {{
            image_size = Shape <start = 1, end = 3> ({IMAGE})
            sides = Cast <to = 11> (image_size)
            shorter = ReduceMin <keepdims = 0> (sides)
            longer = ReduceMax <keepdims = 0> (sides)
            scale_by_shorter = Div (shorter_px, shorter)
            scale_by_longer = Div (longer_px, longer)
            longer_scaled = Mul (scale_by_shorter, longer)
            longer_rounded = Round (longer_scaled)
            is_longer = Greater (longer_rounded, longer_px)
            scale64 = Where (is_longer, scale_by_longer, scale_by_shorter)
            scale = Cast <to = 1> (scale64)
            sides_scaled = Mul (sides, scale64)
            sides_rounded = Round (sides_scaled)
            sides_whole = Cast <to = 7> (sides_rounded)
            net_size = Max (sides_whole, one)
            shrunk_by_shorter = Div (shorter, shorter_px)
            shrunk_by_longer = Div (longer, longer_px)
            shrunk = Max (shrunk_by_shorter, shrunk_by_longer)
            surplus = Ceil (shrunk)
            surplus_whole = Cast <to = 7> (surplus)
            surplus_1 = Reshape (surplus_whole, one)
            padding = Concat <axis = 0> (none_before, surplus_1, surplus_1, none)
            swapped = Gather <axis = 3> ({IMAGE}, blue_green_red)
            pixels = Cast <to = 1> (swapped)
            less_means = Sub (pixels, means)
            padded = Pad <mode = "edge"> (less_means, padding)
            scale_1 = Reshape (scale, one)
            scales = Concat <axis = 0> (one_float, scale_1, scale_1, one_float)
            resized = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel">
                (padded, , scales)
            images = Slice (resized, origin, net_size, rows_columns)
        }}
    """)


def proposals(module: ModuleConfig, config: DetectConfig) -> onnx.GraphProto:
    """From one module's outputs to its best boxes, px of the image, and their scores.

    `<module>_logits` `[1, N, 2]` and `<module>_deltas` `[1, N, 4]` become `<module>_boxes` `[K, 4]`
    and `<module>_scores` `[K]`.
    """
    text = f"""
        proposals (float[1, N, 2] @logits, float[1, N, 4] @deltas)
        => (float[K, 4] @boxes, float[K] @scores)
        <int64 @face = {{1}}, int64[1] @first = {{0}}, int64[1] @top_k = {{{config.top_k}}},
         int64 @zero = {{0}}, int64 @one = {{1}}, int64 @stride = {{{module.stride}}},
         int64 @stride_less_one = {{{module.stride - 1}}}, int64[1] @last_axis = {{1}},
         int64 @anchors_per_cell = {{{len(module.anchor_scales)}}}, int64[2] @halves = {{2, 2}},
         float @half = {{0.5}},
         float @overflow = {{50}}, float @five = {{5}}, float @pixel = {{1}}, float @lowest = {{0}},
         float[4] @end = {{0, 0, {int(config.exact_decode)}, {int(config.exact_decode)}}}>
        {{
            @logits_rows = Squeeze (@logits, @first)
            @deltas_rows = Squeeze (@deltas, @first)
            @probabilities = Softmax <axis = -1> (@logits_rows)
            @all_scores = Gather <axis = 1> (@probabilities, @face)
            @count = Shape (@all_scores)
            @k = Min (@count, @top_k)
            @scores, @index = TopK <axis = 0, largest = 1, sorted = 1> (@all_scores, @k)
            @best_deltas = Gather <axis = 0> (@deltas_rows, @index)

            @height = Gather <axis = 0> (net_size, @zero)
            @width = Gather <axis = 0> (net_size, @one)
            @width_up = Add (@width, @stride_less_one)
            @columns = Div (@width_up, @stride)
            @cell = Div (@index, @anchors_per_cell)
            @anchor = Mod (@index, @anchors_per_cell)
            @row = Div (@cell, @columns)
            @column = Mod (@cell, @columns)
            @y = Mul (@row, @stride)
            @x = Mul (@column, @stride)
            @y_1 = Unsqueeze (@y, @last_axis)
            @x_1 = Unsqueeze (@x, @last_axis)
            @shift_whole = Concat <axis = 1> (@x_1, @y_1, @x_1, @y_1)
            @shift = Cast <to = 1> (@shift_whole)
            @base = Gather <axis = 0> (@base_anchors, @anchor)
            @anchors = Add (@base, @shift)

            @low, @high = Split <axis = 1> (@anchors, @halves)
            @sides = Sub (@high, @low)
            @half_sides = Mul (@half, @sides)
            @middle = Add (@low, @half_sides)
            @shifts, @log_ratios = Split <axis = 1> (@best_deltas, @halves)
            @moved = Mul (@shifts, @sides)
            @centers = Add (@middle, @moved)
            @is_overflow = Greater (@log_ratios, @overflow)
            @safe_ratios = Where (@is_overflow, @five, @log_ratios)
            @ratios = Exp (@safe_ratios)
            @reach = Mul (@ratios, @half_sides)
            @low_corners = Sub (@centers, @reach)
            @high_corners = Add (@centers, @reach)
            @corners = Concat <axis = 1> (@low_corners, @high_corners)
            @decoded = Sub (@corners, @end)

            @last_x_whole = Reshape (@width, @last_axis)
            @last_y_whole = Reshape (@height, @last_axis)
            @limit_whole = Concat <axis = 0>
                (@last_x_whole, @last_y_whole, @last_x_whole, @last_y_whole)
            @limit = Cast <to = 1> (@limit_whole)
            @last = Sub (@limit, @pixel)
            @below = Min (@decoded, @last)
            @clipped = Max (@below, @lowest)
            @boxes = Div (@clipped, scale)
        }}
    """
    graph = onnx.parser.parse_graph(text.replace("@", f"{module.name}_"))
    anchors = base_anchors(module.anchor_scales)
    graph.initializer.append(onnx.numpy_helper.from_array(anchors, f"{module.name}_base_anchors"))
    return graph


def suppression(modules: Sequence[ModuleConfig], config: DetectConfig) -> onnx.GraphProto:
    """From the modules' boxes and scores to the outputs: the joint NMS.

    Args:
        modules: The network's modules.
        config: Thresholds; `max_detections` is the number of rows.
    """
    boxes = ", ".join(f"{module.name}_boxes" for module in modules)
    scores = ", ".join(f"{module.name}_scores" for module in modules)
    rows = config.max_detections
    return onnx.parser.parse_graph(f"""
        suppression () => (float[{rows}, 4] {BOXES}, float[{rows}] {SCORES}, int64[1] {COUNT})
        <float[4] last_pixel = {{0, 0, 1, 1}}, int64[1] batch_axis = {{0}},
         int64[2] batch_and_class = {{0, 1}}, int64[1] most = {{{rows}}}, int64 box_column = {{2}},
         float[1] nms_iou = {{{config.nms_iou}}},
         float[1] score_threshold = {{{config.score_threshold}}}>
        {{
            all_boxes = Concat <axis = 0> ({boxes})
            all_scores = Concat <axis = 0> ({scores})
            half_open = Add (all_boxes, last_pixel)
            nms_boxes = Unsqueeze (half_open, batch_axis)
            nms_scores = Unsqueeze (all_scores, batch_and_class)
            selected = NonMaxSuppression (nms_boxes, nms_scores, most, nms_iou, score_threshold)
            selected_rows = Gather <axis = 1> (selected, box_column)
            face_boxes = Gather <axis = 0> (all_boxes, selected_rows)
            face_scores = Gather <axis = 0> (all_scores, selected_rows)
            {COUNT} = Shape (face_scores)
            missing = Sub (most, {COUNT})
            boxes_padding = Concat <axis = 0> (origin, missing, none)
            scores_padding = Concat <axis = 0> (none, missing)
            {BOXES} = Pad (face_boxes, boxes_padding)
            {SCORES} = Pad (face_scores, scores_padding)
        }}
    """)
