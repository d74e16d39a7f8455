// Where `.ci/run` wants the counts of a test run, beside what is printed.

/** Reporter options: the usual one, and a JSON file in the folder that SLUICE_TEST_REPORT names. */
export function reporters(name: string) {
  const folder = process.env.SLUICE_TEST_REPORT;
  if (!folder) return {};
  return { reporters: ["default", "json"], outputFile: { json: `${folder}/${name}.json` } };
}
