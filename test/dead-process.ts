// A process of this machine that is no more, as the maker of what it left: its temporary files are anybody's to remove.

import { realClock } from "../src/base/clock.js";
import { realProcesses } from "../src/base/process-identity.js";
import type { Maker } from "../src/store/temporary.js";

/** No pid is that high. */
export const DEAD: Maker = {
  clock: realClock,
  processes: {
    own: () => {
      const me = realProcesses.own();
      return me && { ...me, pid: 2 ** 22 + 1 };
    },
    isAlive: (identity) => realProcesses.isAlive(identity),
  },
};
