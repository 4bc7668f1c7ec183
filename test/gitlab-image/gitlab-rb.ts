import { readFileSync } from 'node:fs';

/** The settings of gitlab.rb that a program without Ruby can read: `key 'value'` and `section['key'] = value`, one a line. */
export type Settings = ReadonlyMap<string, string>;

const line = /^\s*([a-z_]+)((?:\[['"][^'"\]]+['"]\])*)\s*(?:=|\s)\s*(.+?)\s*$/;

function read(text: string, into: Map<string, string>): void {
  for (const one of text.split(/[\n;]/)) {
    const [, name, keys = '', value = ''] = line.exec(one.replace(/^\s*#.*/, '')) ?? [];
    if (name === undefined) continue;
    const path = [name, ...[...keys.matchAll(/\[['"]([^'"]+)['"]\]/g)].map((match) => match[1])].join('.');
    into.set(
      path,
      value.replace(/^(['"])(.*)\1$/, (_, quote, text) => text.replaceAll(`\\${quote}`, quote)),
    );
  }
}

/** The environment's first, then the file's: what stands in the file wins (contract §6). */
export function settings(): Settings {
  const found = new Map<string, string>();
  read(process.env.GITLAB_OMNIBUS_CONFIG ?? '', found);
  read(readFileSync('/etc/gitlab/gitlab.rb', 'utf8'), found);
  return found;
}
