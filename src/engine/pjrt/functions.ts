// Where the functions that Sluice calls stand in the plug-in's table (struct PJRT_Api of pjrt_c_api.h, API 0.81): offsets in
// bytes. Later versions only add functions at the end, so one table serves all plug-ins; a plug-in's own size tells whether it
// has a function (call.ts looks before each call).

/** Offsets in struct PJRT_Api: its size, its extensions, its version, then the functions. */
export const API_SIZE_OFFSET = 0;
export const API_MAJOR_OFFSET = 32;
export const API_MINOR_OFFSET = 36;

/** Offset of each function's pointer. Each takes a pointer to the struct of its name and `_Args`, and gives a PJRT_Error or null. */
export const FUNCTIONS = {
  PJRT_Error_Destroy: 40,
  PJRT_Error_Message: 48,
  PJRT_Error_GetCode: 56,
  PJRT_Plugin_Initialize: 64,
  PJRT_Plugin_Attributes: 72,
  PJRT_Event_Destroy: 80,
  PJRT_Event_OnReady: 112,
  PJRT_Client_Create: 120,
  PJRT_Client_Destroy: 128,
  PJRT_Client_PlatformName: 136,
  PJRT_Client_PlatformVersion: 152,
  PJRT_Client_AddressableDevices: 168,
  PJRT_Client_Compile: 200,
  PJRT_Client_BufferFromHostBuffer: 216,
  PJRT_DeviceDescription_Id: 224,
  PJRT_DeviceDescription_Kind: 248,
  PJRT_Device_GetDescription: 272,
  PJRT_Device_MemoryStats: 312,
  PJRT_Executable_Destroy: 360,
  PJRT_Executable_NumOutputs: 392,
  PJRT_Executable_Serialize: 432,
  PJRT_LoadedExecutable_Destroy: 440,
  PJRT_LoadedExecutable_GetExecutable: 448,
  PJRT_LoadedExecutable_AddressableDevices: 456,
  PJRT_LoadedExecutable_Execute: 480,
  PJRT_Executable_DeserializeAndLoad: 488,
  PJRT_Buffer_Destroy: 504,
  PJRT_Buffer_ElementType: 512,
  PJRT_Buffer_Dimensions: 520,
  PJRT_Buffer_ToHostBuffer: 600,
  PJRT_Executable_OutputElementTypes: 760,
  PJRT_Executable_OutputDimensions: 768,
  PJRT_Executable_GetCompiledMemoryStats: 808,
} as const;

/** A function of the C API. */
export type FunctionName = keyof typeof FUNCTIONS;
