// To be imported before ONNX Runtime, whose official libraries (1.30, Linux and macOS too) otherwise report each process and session
// to Microsoft, and leave a device's id, a database and a log file on its disks. The variable is theirs (microsoft/onnxruntime#27379) and
// is read once, when the library starts: whoever wants to report sets it to 0.

process.env.ORT_DISABLE_TELEMETRY ??= "1";
