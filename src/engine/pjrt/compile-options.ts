// CompileOptionsProto (xla/pjrt/proto/compile_options.proto), as far as Sluice sets it, encoded by hand: a few varints. The
// numbers of replicas and partitions are always there: without them the CPU plug-in aborts the process.

/** How a program is spread. */
export interface Spread {
  /** Devices that share one execution, 1 or more. */
  readonly partitions: number;
  /** Ids of the devices: those of the first replica's partitions, then the second's ... */
  readonly deviceIds: readonly number[];
  readonly useShardy: boolean;
}

/** CompileOptionsProto.executable_build_options. */
const BUILD_OPTIONS = 3;
/** Fields of ExecutableBuildOptionsProto. */
const BUILD = { numReplicas: 4, numPartitions: 5, useSpmd: 6, deviceAssignment: 9, useShardy: 19 };
/** Fields of xla.DeviceAssignmentProto (xla_data.proto). */
const ASSIGNMENT = { replicaCount: 1, computationCount: 2, computationDevices: 3 };
/** DeviceAssignmentProto.ComputationDevice.replica_device_ids, packed. */
const REPLICA_DEVICE_IDS = 1;

/** The options of one program, serialised. */
export function encodeCompileOptions({ partitions, deviceIds, useShardy }: Spread): Uint8Array {
  const replicas = deviceIds.length / partitions;
  const idsOf = (partition: number) => deviceIds.filter((_, i) => i % partitions === partition);
  const assignment = [
    ...varintField(ASSIGNMENT.replicaCount, replicas),
    ...varintField(ASSIGNMENT.computationCount, partitions),
    ...Array.from({ length: partitions }, (_, partition) =>
      bytesField(
        ASSIGNMENT.computationDevices,
        bytesField(REPLICA_DEVICE_IDS, idsOf(partition).flatMap(varint)),
      ),
    ).flat(),
  ];
  const build = [
    ...varintField(BUILD.numReplicas, replicas),
    ...varintField(BUILD.numPartitions, partitions),
    ...(partitions > 1 ? varintField(BUILD.useSpmd, 1) : []),
    ...bytesField(BUILD.deviceAssignment, assignment),
    ...(partitions > 1 && useShardy ? varintField(BUILD.useShardy, 1) : []),
  ];
  const encoded = bytesField(BUILD_OPTIONS, build);
  const bytes = new Uint8Array(new ArrayBuffer(encoded.length));
  bytes.set(encoded);
  return bytes;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}

function varintField(field: number, value: number): number[] {
  return [...varint(field * 8), ...varint(value)];
}

function bytesField(field: number, bytes: readonly number[]): number[] {
  return [...varint(field * 8 + 2), ...varint(bytes.length), ...bytes];
}
