// Loads an exported model with TensorFlow's C++ LoadSavedModel, which TensorFlow Serving is built on,
// and detects the faces of images. `make check-cpp` compiles and runs it.
//
//   load_savedmodel VERSION_FOLDER IMAGE...
//
// Prints for each image its status and number of faces, then one line `ymin xmin ymax xmax score` per
// face.

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: " << argv[0] << " VERSION_FOLDER IMAGE...\n";
    return 2;
  }
  const int n = argc - 2;
  tensorflow::Tensor images(tensorflow::DT_STRING, tensorflow::TensorShape({n}));
  for (int i = 0; i < n; ++i) {
    std::ifstream file(argv[2 + i], std::ios::binary);
    images.vec<tensorflow::tstring>()(i) =
        std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }

  tensorflow::SavedModelBundle bundle;
  tensorflow::Status status = tensorflow::LoadSavedModel(
      tensorflow::SessionOptions(), tensorflow::RunOptions(), argv[1],
      {"serve"}, &bundle);
  if (!status.ok()) {
    std::cerr << status << "\n";
    return 1;
  }
  const auto& signature = bundle.GetSignatures().at("serving_default");
  std::vector<std::string> names;
  for (const char* key :
       {"detection_status", "num_detections", "detection_boxes", "detection_scores"}) {
    names.push_back(signature.outputs().at(key).name());
  }
  std::vector<tensorflow::Tensor> outputs;
  status = bundle.session->Run({{signature.inputs().at("image_bytes").name(), images}}, names, {},
                               &outputs);
  if (!status.ok()) {
    std::cerr << status << "\n";
    return 1;
  }
  const auto boxes = outputs[2].tensor<float, 3>();  // [N, rows, 4]
  const auto scores = outputs[3].matrix<float>();    // [N, rows]
  for (int i = 0; i < n; ++i) {
    const int count = outputs[1].vec<int>()(i);
    std::cout << outputs[0].vec<int>()(i) << " " << count << "\n";
    for (int row = 0; row < count; ++row) {
      for (int j = 0; j < 4; ++j) std::cout << boxes(i, row, j) << " ";
      std::cout << scores(i, row) << "\n";
    }
  }
  return 0;
}
