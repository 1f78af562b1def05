// Read HDF files with MITRE's own reader: tells of each control our word for its status and the one that Heimdall shows.
import {createRequire} from 'node:module';
import {readFileSync} from 'node:fs';
import {resolve} from 'node:path';

const [modules, ...files] = process.argv.slice(2);
const inspecjs = createRequire(resolve(modules) + '/')('inspecjs');
const found = {};
for (const file of files) {
  try {
    const {profiles} = inspecjs.convertFile(readFileSync(file, 'utf8'))['1_0_ExecJson'];
    found[file] = profiles.flatMap((p) => p.controls.map((c) => [c.tags.status, inspecjs.hdfWrapControl(c).status]));
  } catch (error) {
    found[file] = String(error);
  }
}
console.log(JSON.stringify(found));
