// The structs through which the PJRT C API is called, as pjrt_c_api.h (API 0.81) lays them out on 64-bit machines:
// little-endian, 8-byte slots, integers and booleans in the low bytes. A struct's size ends with its last field (some are
// odd). Later versions of the API only add fields at the end. test/integration/pjrt-header.test.ts compares this table,
// and that of functions.ts, with what gcc says of the header.

/** How a field is read and written. `pointer` is an address; a `size` is a size_t. */
export type FieldKind = "pointer" | "size" | "int64" | "int32" | "float" | "bool";

/** A struct's size in bytes and its fields: offset and kind. `struct_size` (0) and `extension_start` (8) begin each. */
export interface StructLayout {
  readonly size: number;
  readonly fields: Readonly<Record<string, readonly [offset: number, kind: FieldKind]>>;
}

/** Bytes before the first field. */
export const HEADER_BYTES = 16;

/** All structs that Sluice uses, by their names in C. */
export const STRUCTS = {
  PJRT_Error_Destroy_Args: { size: 24, fields: { error: [16, "pointer"] } },
  PJRT_Error_Message_Args: {
    size: 40,
    fields: { error: [16, "pointer"], message: [24, "pointer"], message_size: [32, "size"] },
  },
  PJRT_Error_GetCode_Args: { size: 28, fields: { error: [16, "pointer"], code: [24, "int32"] } },
  PJRT_NamedValue: {
    size: 56,
    fields: {
      name: [16, "pointer"],
      name_size: [24, "size"],
      type: [32, "int32"],
      string_value: [40, "pointer"],
      int64_value: [40, "int64"],
      int64_array_value: [40, "pointer"],
      float_value: [40, "float"],
      bool_value: [40, "bool"],
      value_size: [48, "size"],
    },
  },
  PJRT_Plugin_Initialize_Args: { size: 16, fields: {} },
  PJRT_Plugin_Attributes_Args: {
    size: 32,
    fields: { attributes: [16, "pointer"], num_attributes: [24, "size"] },
  },
  PJRT_Event_Destroy_Args: { size: 24, fields: { event: [16, "pointer"] } },
  PJRT_Event_OnReady_Args: {
    size: 40,
    fields: { event: [16, "pointer"], callback: [24, "pointer"], user_arg: [32, "pointer"] },
  },
  PJRT_Client_Create_Args: {
    size: 88,
    fields: { create_options: [16, "pointer"], num_options: [24, "size"], client: [64, "pointer"] },
  },
  PJRT_Client_Destroy_Args: { size: 24, fields: { client: [16, "pointer"] } },
  PJRT_Client_PlatformName_Args: {
    size: 40,
    fields: { client: [16, "pointer"], platform_name: [24, "pointer"], platform_name_size: [32, "size"] },
  },
  PJRT_Client_PlatformVersion_Args: {
    size: 40,
    fields: {
      client: [16, "pointer"],
      platform_version: [24, "pointer"],
      platform_version_size: [32, "size"],
    },
  },
  PJRT_Client_AddressableDevices_Args: {
    size: 40,
    fields: {
      client: [16, "pointer"],
      addressable_devices: [24, "pointer"],
      num_addressable_devices: [32, "size"],
    },
  },
  PJRT_Program: {
    size: 48,
    fields: {
      code: [16, "pointer"],
      code_size: [24, "size"],
      format: [32, "pointer"],
      format_size: [40, "size"],
    },
  },
  PJRT_Client_Compile_Args: {
    size: 56,
    fields: {
      client: [16, "pointer"],
      program: [24, "pointer"],
      compile_options: [32, "pointer"],
      compile_options_size: [40, "size"],
      executable: [48, "pointer"],
    },
  },
  PJRT_Client_BufferFromHostBuffer_Args: {
    size: 120,
    fields: {
      client: [16, "pointer"],
      data: [24, "pointer"],
      type: [32, "int32"],
      dims: [40, "pointer"],
      num_dims: [48, "size"],
      host_buffer_semantics: [72, "int32"],
      device: [80, "pointer"],
      memory: [88, "pointer"],
      device_layout: [96, "pointer"],
      done_with_host_buffer: [104, "pointer"],
      buffer: [112, "pointer"],
    },
  },
  PJRT_Device_GetDescription_Args: {
    size: 32,
    fields: { device: [16, "pointer"], device_description: [24, "pointer"] },
  },
  PJRT_DeviceDescription_Id_Args: {
    size: 28,
    fields: { device_description: [16, "pointer"], id: [24, "int32"] },
  },
  PJRT_DeviceDescription_Kind_Args: {
    size: 40,
    fields: {
      device_description: [16, "pointer"],
      device_kind: [24, "pointer"],
      device_kind_size: [32, "size"],
    },
  },
  PJRT_Device_MemoryStats_Args: {
    size: 185,
    fields: {
      device: [16, "pointer"],
      bytes_in_use: [24, "int64"],
      peak_bytes_in_use: [32, "int64"],
      peak_bytes_in_use_is_set: [40, "bool"],
      bytes_limit: [80, "int64"],
      bytes_limit_is_set: [88, "bool"],
    },
  },
  PJRT_Executable_Destroy_Args: { size: 24, fields: { executable: [16, "pointer"] } },
  PJRT_LoadedExecutable_Destroy_Args: { size: 24, fields: { executable: [16, "pointer"] } },
  PJRT_LoadedExecutable_GetExecutable_Args: {
    size: 32,
    fields: { loaded_executable: [16, "pointer"], executable: [24, "pointer"] },
  },
  PJRT_LoadedExecutable_AddressableDevices_Args: {
    size: 40,
    fields: {
      executable: [16, "pointer"],
      addressable_devices: [24, "pointer"],
      num_addressable_devices: [32, "size"],
    },
  },
  PJRT_Executable_NumOutputs_Args: {
    size: 32,
    fields: { executable: [16, "pointer"], num_outputs: [24, "size"] },
  },
  PJRT_Executable_OutputElementTypes_Args: {
    size: 40,
    fields: { executable: [16, "pointer"], output_types: [24, "pointer"], num_output_types: [32, "size"] },
  },
  PJRT_Executable_OutputDimensions_Args: {
    size: 48,
    fields: {
      executable: [16, "pointer"],
      num_outputs: [24, "size"],
      dims: [32, "pointer"],
      dim_sizes: [40, "pointer"],
    },
  },
  PJRT_Executable_GetCompiledMemoryStats_Args: {
    size: 112,
    fields: {
      executable: [16, "pointer"],
      generated_code_size_in_bytes: [24, "int64"],
      argument_size_in_bytes: [32, "int64"],
      output_size_in_bytes: [40, "int64"],
      temp_size_in_bytes: [56, "int64"],
    },
  },
  PJRT_Executable_Serialize_Args: {
    size: 56,
    fields: {
      executable: [16, "pointer"],
      serialized_bytes: [24, "pointer"],
      serialized_bytes_size: [32, "size"],
      serialized_executable: [40, "pointer"],
      serialized_executable_deleter: [48, "pointer"],
    },
  },
  PJRT_Executable_DeserializeAndLoad_Args: {
    size: 64,
    fields: {
      client: [16, "pointer"],
      serialized_executable: [24, "pointer"],
      serialized_executable_size: [32, "size"],
      loaded_executable: [40, "pointer"],
      overridden_serialized_compile_options: [48, "pointer"],
      overridden_serialized_compile_options_size: [56, "size"],
    },
  },
  PJRT_ExecuteOptions: {
    size: 112,
    fields: {
      launch_id: [48, "int32"],
      non_donatable_input_indices: [56, "pointer"],
      num_non_donatable_input_indices: [64, "size"],
    },
  },
  PJRT_LoadedExecutable_Execute_Args: {
    size: 80,
    fields: {
      executable: [16, "pointer"],
      options: [24, "pointer"],
      argument_lists: [32, "pointer"],
      num_devices: [40, "size"],
      num_args: [48, "size"],
      output_lists: [56, "pointer"],
      device_complete_events: [64, "pointer"],
      execute_device: [72, "pointer"],
    },
  },
  PJRT_Buffer_Destroy_Args: { size: 24, fields: { buffer: [16, "pointer"] } },
  PJRT_Buffer_ElementType_Args: { size: 28, fields: { buffer: [16, "pointer"], type: [24, "int32"] } },
  PJRT_Buffer_Dimensions_Args: {
    size: 40,
    fields: { buffer: [16, "pointer"], dims: [24, "pointer"], num_dims: [32, "size"] },
  },
  // A union: of its two kinds only the tiled one is used, which begins with its own header.
  PJRT_Buffer_MemoryLayout: {
    size: 76,
    fields: {
      "tiled.struct_size": [16, "size"],
      "tiled.minor_to_major": [32, "pointer"],
      "tiled.minor_to_major_size": [40, "size"],
      type: [72, "int32"],
    },
  },
  PJRT_Buffer_ToHostBuffer_Args: {
    size: 56,
    fields: {
      src: [16, "pointer"],
      host_layout: [24, "pointer"],
      dst: [32, "pointer"],
      dst_size: [40, "size"],
      event: [48, "pointer"],
    },
  },
} as const satisfies Readonly<Record<string, StructLayout>>;

/** The name of a struct in {@link STRUCTS}. */
export type StructName = keyof typeof STRUCTS;
