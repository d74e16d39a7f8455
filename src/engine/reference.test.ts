import { describeEngine } from "./engine.suite.js";
import { referenceEngine } from "./reference.js";

describeEngine(referenceEngine());
