import { AutogitError } from '../../protocol/errors.ts';

/** Why an agent that is in no mesh yet cannot answer: it found none, or it waits for a person. Each needs something else. */
export function notApproved({ words, mesh }: { words: string | null; mesh: string | null }): AutogitError {
  if (mesh === null)
    return new AutogitError('not-approved', 'this machine looks for a mesh, and none answers yet', {
      hint: 'where mDNS does not work, join by --peer ADDRESS; where there is no mesh yet, on one machine: autogit-node join --new',
    });
  const shown = words === null ? '' : `; its words are ${words}`;
  return new AutogitError('not-approved', `this machine waits to be let into mesh "${mesh}"${shown}`, {
    hint: `on an approved machine: autogit-node approve${words === null ? '' : ` --words ${words}`}`,
  });
}
