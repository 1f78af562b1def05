// Hold ClusterReports (an array as JSON on standard input) against the types of OpenReports and of Kubernetes' metadata.
import {readFileSync} from 'node:fs';
import {resolve} from 'node:path';
import {pathToFileURL} from 'node:url';

const modules = pathToFileURL(resolve(process.argv[2]));
const types = `${modules}/@kubernetes-models/kyverno/_schemas/ComGithubOpenreportsReportsApiApisOpenreportsIoV1alpha1`;
const machinery = `${modules}/@kubernetes-models/apimachinery/_schemas/IoK8sApimachineryPkgApisMetaV1`;
const [result, summary, metadata] = (
  await Promise.all([`${types}ReportResult.js`, `${types}ReportSummary.js`, `${machinery}ObjectMeta.js`].map((f) => import(f)))
).map((m) => m.validate);
const problems = [];
const check = (validate, value, where) => {
  if (!validate(value)) problems.push(...validate.errors.map((e) => `${where}${e.instancePath}: ${e.message ?? e.keyword}`));
};
JSON.parse(readFileSync(0, 'utf8')).forEach((report, n) => {
  check(metadata, report.metadata, `${n}/metadata`);
  check(summary, report.summary, `${n}/summary`);
  report.results.forEach((r, i) => check(result, r, `${n}/results/${i}`));
});
console.log(JSON.stringify(problems));
