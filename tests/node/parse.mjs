// Prints what the AsyncAPI parser finds wrong with a document, and what it sees in it.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const found = diagnostics.map(({ severity, message, path }) => ({ severity, message, path: path.join("/") }));
const names = (all) => all.map((each) => each.id());
const seen = document && {
  channels: names(document.channels().all()),
  messages: names(document.messages().all()),
  operations: names(document.operations().all()),
};
console.log(JSON.stringify({ found, seen }));
