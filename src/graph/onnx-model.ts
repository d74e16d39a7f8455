// A thin writer of ONNX models over the generated protobuf classes: nodes, constants, external weights, inputs, outputs.

import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";

/** TensorProto.DataType. */
export const ONNX_TYPES = { float32: 1, uint16: 4, int32: 6, int64: 7, float16: 10, bfloat16: 16 } as const;
type OnnxType = keyof typeof ONNX_TYPES;
type Attribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly text: string }
  | { readonly ints: readonly number[] };

/** A node's attributes by name. */
export type Attributes = Readonly<Record<string, Attribute>>;

/** The domain of ONNX Runtime's own operators. */
export const MICROSOFT = "com.microsoft";

/** Collects a model. Operator set 26 (IR 13), the first with BitCast. */
export class OnnxModel {
  readonly #nodes: NodeProto[] = [];
  readonly #initializers = new Map<string, TensorProto>();
  readonly #inputs: ValueInfoProto[] = [];
  readonly #outputs: ValueInfoProto[] = [];

  /** Adds a node of one output, and gives the output's name. Optional inputs that are left out are ''. */
  node(
    op: string,
    inputs: readonly string[],
    attributes: Attributes = {},
    options: { domain?: string; out?: string; outputs?: number } = {},
  ): string {
    const out = options.out ?? `v${this.#nodes.length}`;
    const more = Array.from({ length: (options.outputs ?? 1) - 1 }, (_, i) => `${out}_${i + 1}`);
    this.#nodes.push(
      create(NodeProtoSchema, {
        opType: op,
        input: [...inputs],
        output: [out, ...more],
        name: `n${this.#nodes.length}_${op}`,
        domain: options.domain ?? "",
        attribute: Object.entries(attributes).map(([name, value]) => encodeAttribute(name, value)),
      }),
    );
    return out;
  }

  /** An int64 vector; the same values share one constant. */
  ints(...values: readonly number[]): string {
    return this.#constant(
      `i_${values.join("_")}`,
      "int64",
      [values.length],
      BigInt64Array.from(values.map(BigInt)),
    );
  }

  /** An int64 scalar. */
  int(value: number): string {
    return this.#constant(`s_${value}`, "int64", [], BigInt64Array.of(BigInt(value)));
  }

  /** A float32 vector under a name of its own, or a scalar where shape is []. */
  floats(name: string, values: readonly number[], shape: readonly number[] = [values.length]): string {
    return this.#constant(name, "float32", shape, Float32Array.from(values));
  }

  /** A tensor that lies in another file of the model's folder. */
  external(
    name: string,
    type: OnnxType,
    shape: readonly number[],
    place: { file: string; offset: number; length: number },
  ): string {
    if (!this.#initializers.has(name)) {
      const entries = { location: place.file, offset: String(place.offset), length: String(place.length) };
      this.#initializers.set(
        name,
        create(TensorProtoSchema, {
          name,
          dataType: ONNX_TYPES[type],
          dims: shape.map(BigInt),
          dataLocation: TensorProto_DataLocation.EXTERNAL,
          externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
        }),
      );
    }
    return name;
  }

  /** Declares an input; dimensions are numbers or names. */
  input(name: string, type: OnnxType, shape: readonly (number | string)[]): string {
    this.#inputs.push(valueInfo(name, type, shape));
    return name;
  }

  output(name: string, type: OnnxType, shape: readonly (number | string)[]): void {
    this.#outputs.push(valueInfo(name, type, shape));
  }

  encode(): Uint8Array {
    const model = create(ModelProtoSchema, {
      irVersion: 13n,
      producerName: "sluice",
      opsetImport: [
        { domain: "", version: 26n },
        { domain: MICROSOFT, version: 1n },
      ],
      graph: create(GraphProtoSchema, {
        name: "decoder",
        node: this.#nodes,
        initializer: [...this.#initializers.values()],
        input: this.#inputs,
        output: this.#outputs,
      }),
    });
    return toBinary(ModelProtoSchema, model);
  }

  #constant(
    name: string,
    type: OnnxType,
    shape: readonly number[],
    values: BigInt64Array | Float32Array,
  ): string {
    if (!this.#initializers.has(name)) {
      const rawData = Uint8Array.from(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      this.#initializers.set(
        name,
        create(TensorProtoSchema, { name, dataType: ONNX_TYPES[type], dims: shape.map(BigInt), rawData }),
      );
    }
    return name;
  }
}

function encodeAttribute(name: string, value: Attribute): AttributeProto {
  if ("int" in value)
    return create(AttributeProtoSchema, {
      name,
      type: AttributeProto_AttributeType.INT,
      i: BigInt(value.int),
    });
  if ("float" in value)
    return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.FLOAT, f: value.float });
  if ("text" in value)
    return create(AttributeProtoSchema, {
      name,
      type: AttributeProto_AttributeType.STRING,
      s: new TextEncoder().encode(value.text),
    });
  return create(AttributeProtoSchema, {
    name,
    type: AttributeProto_AttributeType.INTS,
    ints: value.ints.map(BigInt),
  });
}

function valueInfo(name: string, type: OnnxType, shape: readonly (number | string)[]): ValueInfoProto {
  const dim = shape.map((size) =>
    typeof size === "number"
      ? { value: { case: "dimValue" as const, value: BigInt(size) } }
      : { value: { case: "dimParam" as const, value: size } },
  );
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: "tensorType", value: { elemType: ONNX_TYPES[type], shape: { dim } } } },
  });
}
