import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { build, type Plugin } from 'esbuild';
import type { Mutant } from './mutants/mutant.ts';

/** The repository: commands run there. */
const root = process.cwd();

/** Bundles the simulation, with the bug planted in what is bundled; the working tree stays as it is. */
export async function bundleSimulation(
  name: string,
  mutant: Mutant | null,
  entry = 'test/sim/main.ts',
): Promise<string> {
  const outfile = join(root, '.tmp', 'sim', `${name.replaceAll(/[^a-z0-9]+/gi, '-')}-${process.pid}.mjs`);
  mkdirSync(dirname(outfile), { recursive: true });
  const patched = new Set<string>();
  await build({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    format: 'esm',
    logLevel: 'error',
    plugins: mutant === null ? [] : [planting(mutant, patched)],
  });
  for (const { file } of mutant?.patches ?? [])
    if (!patched.has(file)) throw new Error(`mutant "${name}": ${file} is not part of the simulation`);
  return outfile;
}

/** Asked of the files of its patches alone: to be asked of each of some 500 would cost more than to bundle them. */
function planting({ patches }: Mutant, patched: Set<string>): Plugin {
  const names = patches.map(({ file }) => file.replaceAll('.', '\\.'));
  return {
    name: 'mutant',
    setup({ onLoad }) {
      onLoad({ filter: new RegExp(`(?:${names.join('|')})$`) }, ({ path }) => {
        const file = relative(root, path);
        const own = patches.filter((patch) => patch.file === file);
        if (own.length === 0) return null;
        patched.add(file);
        return { contents: patchedText(file, own), loader: 'ts' };
      });
    },
  };
}

/** Each patch must match exactly once: else the code has changed and the mutant must follow. */
export function patchedText(file: string, patches: Mutant['patches']): string {
  let text = readFileSync(join(root, file), 'utf8');
  for (const { find, replace } of patches) {
    const count = text.split(find).length - 1;
    if (count !== 1) throw new Error(`${file}: ${count} places match ${JSON.stringify(find)}, not one`);
    text = text.replace(find, () => replace);
  }
  return text;
}
