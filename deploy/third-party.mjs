// What of others is inside the bundle: which packages, under which licences, with their texts (THIRD-PARTY.txt), and the same as a
// CycloneDX bill of materials (sbom.cdx.json), since `npm audit` and scanners see nothing of a bundle. Both are made from esbuild's own
// record of what it put in. Nothing in them depends on time or machine, so that one commit always makes the same files.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Licences whose terms a program under MIT keeps by carrying their texts along. */
const allowed = [
  'MIT',
  'MIT-0',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'Apache-2.0',
  'Unlicense',
  'BlueOak-1.0.0',
  'CC0-1.0',
];
/** Texts for packages that name their licence and ship no copy of it, or a file that only points at one. */
const standard = { MIT: 'MIT.txt', ISC: 'ISC.txt', 'Apache-2.0': 'Apache-2.0.txt' };

const isWhole = (text) =>
  /Permission is hereby granted|Permission to use, copy, modify|Redistribution and use in source and binary|Apache\s+License\s+Version 2\.0|free and unencumbered software/.test(
    text,
  );

/** The SPDX expression of a package. Throws for one that names none, or none of the allowed ones. */
export function licenceOf({ name, license, licenses }) {
  const said = license ?? licenses?.map((one) => one.type ?? one).join(' OR ');
  const expression = (said?.type ?? said ?? '').replace(/^\((.*)\)$/, '$1');
  const fits = (one) => one.split(' AND ').every((part) => allowed.includes(part.trim()));
  if (!expression.split(' OR ').some(fits))
    throw new Error(
      `${name} is under "${expression}", which deploy/third-party.mjs does not know as fit for an MIT bundle`,
    );
  return expression;
}

/** The nearest folder above a file whose package.json says name and version: a package may have nested ones without. */
function packageFolder(root, file) {
  for (let folder = dirname(join(root, file)); folder.length > root.length; folder = dirname(folder)) {
    const manifest = join(folder, 'package.json');
    if (!existsSync(manifest)) continue;
    const { name, version } = JSON.parse(readFileSync(manifest, 'utf8'));
    if (name && version) return folder;
  }
  return null;
}

function ownTexts(folder) {
  const names = readdirSync(folder).filter((name) => /^(?:licen[cs]e|copying|notice|copyright)/i.test(name));
  return names.sort().map((name) => readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n').trim());
}

function standardText(root, { name, expression, author, repository }) {
  const licence = Object.keys(standard).find((one) => expression.split(' OR ').includes(one));
  if (licence === undefined)
    throw new Error(`${name} ships no text of its licence (${expression}), and deploy/licences has none`);
  const holder = author || `the contributors of ${repository || name}`;
  return `Copyright (c) ${holder}\n\n${readFileSync(join(root, 'deploy', 'licences', standard[licence]), 'utf8').trim()}`;
}

const addressOf = (repository) =>
  (repository?.url ?? repository ?? '')
    .replace(/^git\+/, '')
    .replace(/^(?:git:\/\/|ssh:\/\/git@|git@)([^/:]+)[/:]/, 'https://$1/')
    .replace(/^(?:github:)?([\w.-]+\/[\w.-]+)$/, 'https://github.com/$1')
    .replace(/\.git$/, '');

function readPackage(root, folder, lock) {
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const place = folder.slice(root.length + 1);
  const locked = lock.packages[place];
  const expression = licenceOf(manifest);
  const { name, version } = manifest;
  const author = manifest.author?.name ?? manifest.author ?? '';
  const repository = addressOf(manifest.repository);
  const texts = ownTexts(folder);
  return {
    name,
    version,
    place,
    expression,
    repository,
    integrity: locked?.version === version ? (locked.integrity ?? null) : null,
    needs: Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }),
    texts: texts.some(isWhole) ? texts : [...texts, standardText(root, { name, expression, author, repository })],
  };
}

const byName = (a, b) => (a.place < b.place ? -1 : 1);

/** Packages that have at least one byte in the outputs of these builds. Their folders may lie behind a linked node_modules. */
export function bundledPackages(root, metafiles, lock) {
  const files = metafiles.flatMap(({ outputs }) =>
    Object.values(outputs).flatMap(({ inputs }) =>
      Object.keys(inputs).filter((file) => inputs[file].bytesInOutput > 0),
    ),
  );
  const inside = files.map((file) => file.replace(/^[\w-]+:/, '').replace(/^.*?(?=node_modules\/)/, ''));
  const folders = new Set(
    inside.filter((file) => file.startsWith('node_modules/')).map((file) => packageFolder(root, file)),
  );
  folders.delete(null);
  return [...folders].map((folder) => readPackage(root, folder, lock)).sort(byName);
}

/** Packages that npm installs beside the bundle; they bring their own licences. */
export function installedPackages(root, lock) {
  const places = Object.entries(lock.packages).filter(
    ([place, one]) => place !== '' && !one.dev && !one.optional && !one.devOptional,
  );
  return places.map(([place]) => readPackage(root, join(root, place), lock)).sort(byName);
}

/** One text for all the packages that have the same: most differ in the holder's name only, but many are by the same authors. */
export function notices(packages) {
  const holders = new Map();
  for (const { name, version, expression, repository, texts } of packages) {
    const text = texts.join('\n\n');
    const line = `${name} ${version} (${expression})${repository ? ` ${repository}` : ''}`;
    holders.set(text, [...(holders.get(text) ?? []), line]);
  }
  const rule = '-'.repeat(78);
  const parts = [...holders].map(([text, lines]) => `${rule}\n${lines.join('\n')}\n\n${text}\n`);
  return `The file dist/agent.cjs contains the following packages, under their own licences.\n\n${parts.join('\n')}`;
}

const urlOf = ({ name, version }) => `pkg:npm/${name.replace(/^@/, '%40')}@${version}`;

function component(one, isBundled) {
  const [group, name] = one.name.startsWith('@') ? one.name.split('/') : [null, one.name];
  const [algorithm, digest] = one.integrity?.split('-') ?? [];
  return {
    type: 'library',
    'bom-ref': urlOf(one),
    ...(group === null ? {} : { group }),
    name,
    version: one.version,
    scope: 'required',
    ...(algorithm === 'sha512'
      ? { hashes: [{ alg: 'SHA-512', content: Buffer.from(digest, 'base64').toString('hex') }] }
      : {}),
    licenses: [
      / (?:OR|AND) /.test(one.expression) ? { expression: one.expression } : { license: { id: one.expression } },
    ],
    purl: urlOf(one),
    ...(one.repository ? { externalReferences: [{ type: 'vcs', url: one.repository }] } : {}),
    properties: [{ name: 'autogit-node:place', value: isBundled ? 'dist/agent.cjs' : 'node_modules' }],
  };
}

/** CycloneDX 1.6. `self` is our own package.json. Where two versions of a package are inside, edges go to the nearer one. */
export function billOfMaterials(self, bundled, installed) {
  const bundledPlaces = new Set(bundled.map(({ place }) => place));
  const all = [...bundled, ...installed.filter(({ place }) => !bundledPlaces.has(place))];
  const at = new Map(all.map((one) => [one.place, one]));
  const found = (from, name) => {
    for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
      const near = at.get(`${folder === '' ? '' : `${folder}/`}node_modules/${name}`);
      if (near || folder === '') return near;
    }
  };
  const edges = (from, names) =>
    [
      ...new Set(
        names
          .map((name) => found(from, name))
          .filter(Boolean)
          .map(urlOf),
      ),
    ].sort();
  const own = {
    type: 'application',
    'bom-ref': urlOf(self),
    name: self.name,
    version: self.version,
    purl: urlOf(self),
  };
  const components = new Map(all.map((one) => [urlOf(one), component(one, bundledPlaces.has(one.place))]));
  const needs = new Map();
  for (const one of all) needs.set(urlOf(one), [...(needs.get(urlOf(one)) ?? []), ...edges(one.place, one.needs)]);
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component: { ...own, licenses: [{ license: { id: self.license } }] } },
    components: [...components.values()],
    dependencies: [
      { ref: own['bom-ref'], dependsOn: edges('', Object.keys({ ...self.dependencies, ...self.devDependencies })) },
      ...[...needs].map(([ref, dependsOn]) => ({ ref, dependsOn: [...new Set(dependsOn)] })),
    ],
  };
}
