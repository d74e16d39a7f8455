// A process of its own that opens one plug-in and says what it is: a library that is none, or a bad one, may end it.

import { messageOf } from "../../base/errors.js";
import { openPlugin } from "./plugin.js";
import type { ProbeReply } from "./probe.js";

const answer = async (): Promise<ProbeReply> => {
  try {
    const { apiVersion, stablehloVersion, stablehloMinimum } = await openPlugin(process.argv[2] ?? "");
    return {
      apiVersion,
      stablehloVersion: stablehloVersion ?? null,
      stablehloMinimum: stablehloMinimum ?? null,
    };
  } catch (error) {
    return { reason: messageOf(error) };
  }
};
const reply = await answer();
process.send?.(reply, () => process.exit(0));
