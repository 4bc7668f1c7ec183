import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AutogitError } from '../../protocol/errors.ts';
import { closeToOthers } from './changeable-path.ts';

/** The folder of the package that this code runs from: it has package.json, dist and deploy. */
export function packageFolder(from: string = fileURLToPath(import.meta.url)): string {
  for (let folder = dirname(from); folder !== dirname(folder); folder = dirname(folder))
    if (existsSync(join(folder, 'deploy', 'autogit-node.service'))) return folder;
  throw new AutogitError(
    'unsupported',
    `the package around ${from} is not complete: deploy/autogit-node.service is missing`,
  );
}

/** Folders of a package's dependencies, all the way down, by name. */
function dependencies(folder: string, found = new Map<string, string>()): Map<string, string> {
  const text = readFileSync(join(folder, 'package.json'), 'utf8');
  const names = Object.keys((JSON.parse(text) as { dependencies?: Record<string, string> }).dependencies ?? {});
  // Asked for a name that Node has not itself: for those, such as `buffer`, it names no folders.
  const folders = createRequire(join(folder, 'package.json')).resolve.paths('autogit-node') ?? [];
  for (const name of names) {
    if (found.has(name)) continue;
    const place = folders.map((path) => join(path, name)).find((path) => existsSync(join(path, 'package.json')));
    if (place === undefined)
      throw new AutogitError('unsupported', `the package ${name} is not installed beside ${folder}`);
    found.set(name, realpathSync(place));
    dependencies(place, found);
  }
  return found;
}

/**
 * Copies what runs into a folder of its own: an agent must not live in the npx cache, which is emptied at will. Returns
 * the program file. Throws the file system's error.
 */
export function copyProgram(target: string): string {
  const source = packageFolder();
  const draft = `${target}.${process.pid}`;
  mkdirSync(join(draft, 'node_modules'), { recursive: true, mode: 0o755 });
  for (const part of ['dist', 'deploy', 'docs', 'package.json'])
    cpSync(join(source, part), join(draft, part), { recursive: true });
  for (const [name, folder] of dependencies(source))
    cpSync(folder, join(draft, 'node_modules', name), { recursive: true, dereference: true });
  closeToOthers(draft);
  rmSync(target, { recursive: true, force: true });
  renameSync(draft, target);
  return join(target, 'dist', 'autogit-node.cjs');
}

/** The unit with its places filled in. Throws `bad-flag` for a path that systemd would read as several words. */
export function unitText(places: {
  node: string;
  bin: string;
  home: string;
  target: string;
  /** ` --config FILE`, or empty. */
  config?: string;
}): string {
  for (const [name, value] of Object.entries(places))
    if (/[\s"'\\%$]/.test(value.replace(/^ --config /, '')))
      throw new AutogitError('bad-flag', `systemd cannot take this ${name}: ${value}`, {
        hint: 'give it a path without spaces, quotes, backslashes, % and $',
      });
  const template = readFileSync(join(packageFolder(), 'deploy', 'autogit-node.service'), 'utf8');
  return (
    template
      // Only root's systemd may take capabilities away.
      .replaceAll('@SYSTEM@', places.target === 'multi-user.target' ? '' : '# a system service only: ')
      .replaceAll('@NODE@', places.node)
      .replaceAll('@BIN@', places.bin)
      .replaceAll('@HOME@', places.home)
      .replaceAll('@CONFIG@', places.config ?? '')
      .replaceAll('@TARGET@', places.target)
  );
}

export function writeUnit(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text, { mode: 0o644 });
}
