"""Model folders as graphs for ONNX Runtime and OpenVINO, in float32 or int8, checked against torch."""
