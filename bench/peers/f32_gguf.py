"""Writes a GGUF file again with every tensor dequantised to F32 by the gguf package, which shares no code with halftone."""

import gguf
import numpy as np


def write_f32_gguf(source, path, zeroed=None):
    """Tensors whose name contains `zeroed` become zero."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in ("general.architecture", "general.file_type"):
            writer.add_key_value(key, field.contents(), field.types[0], field.types[1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, np.zeros_like(values) if zeroed and zeroed in tensor.name else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
