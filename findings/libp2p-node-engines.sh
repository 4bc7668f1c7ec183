#!/usr/bin/env bash
# libp2p 3.3.11 names no Node version of its own ("engines" is absent), and the whole of @libp2p here does not either; but
# its dependency p-retry ^8 resolves to 8.0.1, which wants Node >= 22. Installing libp2p on Node 20 therefore works, with
# a warning (EBADENGINE) at most, and whoever promises Node 20 ships a package that its author has not tried there.
# Seen 2026-11 with npm 10 and 11: the table below. Fails when that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
printf '{"name":"finding","private":true}\n' > package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error libp2p@3.3.11 p-retry@8.0.1 > install.log 2>&1
node - <<'JS'
const engines = (name) => require(`${process.cwd()}/node_modules/${name}/package.json`);
const libp2p = engines('libp2p');
const retry = engines('p-retry');
const seen = {
  libp2p: libp2p.version,
  'libp2p engines': libp2p.engines?.node ?? 'none',
  'libp2p asks for p-retry': libp2p.dependencies['p-retry'],
  'p-retry': retry.version,
  'p-retry engines': retry.engines?.node ?? 'none',
};
console.table(seen);
const expected = { libp2p: '3.3.11', 'libp2p engines': 'none', 'p-retry': '8.0.1', 'p-retry engines': '>=22' };
for (const [what, value] of Object.entries(expected))
  if (seen[what] !== value) throw new Error(`${what} is ${seen[what]}, and was ${value}`);
if (!/^\^8/.test(seen['libp2p asks for p-retry'])) throw new Error('libp2p asks for another p-retry');
JS
echo 'as seen: libp2p names no Node version, and brings a package that wants Node >= 22'
