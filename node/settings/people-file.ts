import { statSync } from 'node:fs';
import type { People } from './people-list.ts';

const nobody: People = { users: [], groups: [] };

/** The users and groups of that autogit.yml, as it stands at each call: read again where it has changed. Throws `bad-config`. */
export function peopleOfFile(file: string): () => Promise<People> {
  let known: { stamp: string; people: People } = { stamp: '', people: nobody };
  return async () => {
    const found = statSync(file, { throwIfNoEntry: false });
    if (found === undefined) return nobody;
    const stamp = `${found.mtimeMs} ${found.size} ${found.ino}`;
    if (stamp === known.stamp) return known.people;
    const { readSettingsFile } = await import('./settings-file.ts');
    known = { stamp, people: readSettingsFile(file, false).people };
    return known.people;
  };
}
