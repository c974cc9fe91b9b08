/** Lists the software in the bundle: dist/THIRD-PARTY-NOTICES for people, dist/sbom.cdx.json (CycloneDX 1.6) for tools. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Writes both files for the inputs of a bundle, as esbuild's metafile names them. */
export function writeNotices(inputs, { name, version, license }) {
  const packages = packagesOf(Object.keys(inputs));
  writeFileSync('dist/THIRD-PARTY-NOTICES', noticesText(packages));
  const components = packages.map((each) => component(each));
  const bom = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component: { ...component({ name, version, license }), type: 'application' } },
    components,
  };
  writeFileSync('dist/sbom.cdx.json', `${JSON.stringify(bom, null, 2)}\n`);
}

function packagesOf(files) {
  const folders = new Set();
  for (const file of files) {
    const at = file.lastIndexOf('node_modules/');
    if (at < 0) continue;
    const [scope, name] = file.slice(at + 'node_modules/'.length).split('/');
    folders.add(file.slice(0, at) + join('node_modules', scope.startsWith('@') ? `${scope}/${name}` : scope));
  }
  return [...folders]
    .map((folder) => ({ folder, ...JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) }))
    .sort((a, b) => (`${a.name}@${a.version}` < `${b.name}@${b.version}` ? -1 : 1));
}

function noticesText(packages) {
  const intro = 'The executable file mongoferry holds these packages, each under its own license.\n';
  return [intro, ...packages.map((each) => `${title(each)}\n\n${licenseText(each.folder)}`)].join(
    `\n${'-'.repeat(80)}\n\n`,
  );
}

function title({ name, version, license, homepage }) {
  return `${name} ${version} (${licenseId(license)})${typeof homepage === 'string' ? `\n${homepage}` : ''}`;
}

/** Its license and notice files; a package without has at least its license's name above. */
function licenseText(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && /^(licen[cs]e|notice|copying)/i.test(entry.name))
    .map(({ name }) => readFileSync(join(folder, name), 'utf8').trim())
    .join('\n\n');
}

function licenseId(license) {
  return typeof license === 'string' ? license : (license?.type ?? 'see its text');
}

function component({ name, version, license }) {
  const isExpression = / (OR|AND|WITH) /.test(licenseId(license));
  return {
    type: 'library',
    name,
    version,
    purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
    licenses: [isExpression ? { expression: licenseId(license) } : { license: { id: licenseId(license) } }],
  };
}
