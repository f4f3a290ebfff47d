// Reads {"boards": {file: board}, "expressions": [{"where", "expression"}]} from standard input; prints a line for each fault and at
// last "done". Run by `node -e` with the folder of the packages as its argument. Expressions are parsed by Prometheus' grammar for
// editors; boards are type-checked, in memory, against the types of @grafana/schema: their text is a literal of TypeScript.
'use strict';
const path = require('node:path');
const folder = path.resolve(process.argv[1]);
const load = require('node:module').createRequire(path.join(folder, 'x'));
const input = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));

function checkExpressions() {
  const { parser } = load('@prometheus-io/lezer-promql');
  const faultOf = (expression) => {
    let at = -1;
    parser.parse(expression).iterate({ enter: (node) => { if (node.type.isError && at < 0) at = node.from; } });
    return at;
  };
  if (faultOf('up{') < 0 || faultOf('sum by (a) (rate(up[5m]))') >= 0) console.log('lezer-promql: tells right from wrong no more');
  for (const { where, expression } of input.expressions) {
    const at = faultOf(expression);
    if (at >= 0) console.log(`${where}: lezer-promql: wrong at ${at}: ${expression}`);
  }
}

// Enumerations of the types are compared by their values, which is what stands in JSON.
const HEAD = `import type * as schema from '@grafana/schema';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
type Json<T> = T extends string ? \`\${T}\`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer U> ? Json<U>[]
  : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
// @ts-expect-error a text is no version: otherwise the types are not what they were
export const wrong: Json<schema.Dashboard> = { schemaVersion: 'x' };
// @ts-expect-error
export const wrongOptions: Json<timeseries.Options> = { legend: { displayMode: 'none' } };
`;

function sourceOfBoards() {
  const places = [];
  let text = HEAD;
  const add = (where, type, value) => {
    places.push([text.length, where]);
    text += `export const c${places.length}: Json<${type}> = ${JSON.stringify(value, null, 1)};\n`;
  };
  for (const [file, board] of Object.entries(input.boards)) {
    const { panels, ...rest } = board;
    add(file, 'schema.Dashboard', rest);
    for (const panel of panels) {
      const where = `${file}: ${panel.title}`;
      add(where, 'schema.Panel', panel);
      add(`${where}: options`, `${panel.type}.Options`, panel.options);
      if (panel.type !== 'stat') add(`${where}: custom`, `Partial<${panel.type}.FieldConfig>`, panel.fieldConfig.defaults.custom);
      for (const target of panel.targets) add(`${where}: target`, 'schema.DataQuery & Record<string, unknown>', target);
    }
  }
  return { text, places };
}

function checkBoards() {
  const ts = load('typescript');
  const { text, places } = sourceOfBoards();
  const file = path.join(folder, 'boards-in-memory.ts');
  const options = {
    strict: true, noEmit: true, skipLibCheck: true, types: [], lib: ['lib.es2022.d.ts'],
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options, true);
  const getSourceFile = host.getSourceFile.bind(host);
  host.getSourceFile = (name, ...rest) =>
    name === file ? ts.createSourceFile(name, text, rest[0], true) : getSourceFile(name, ...rest);
  for (const fault of ts.getPreEmitDiagnostics(ts.createProgram([file], options, host))) {
    const message = ts.flattenDiagnosticMessageText(fault.messageText, ' ');
    const place = places.findLast(([start]) => fault.start >= start);
    const line = fault.file === undefined ? '' : text.slice(fault.start).split('\n')[0].trim();
    console.log(`${place === undefined ? 'types' : place[1]}: @grafana/schema: ${message} (${line})`);
  }
}

checkExpressions();
checkBoards();
console.log('done');
