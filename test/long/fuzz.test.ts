import { describeFuzz } from "../fuzz.suite.js";

describeFuzz(2000);
