import { statfsSync } from 'node:fs';
import type { Answer, Ask, DeployCheck } from '../../protocol/asks.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import { diskOf } from '../disk-use.ts';
import { checkOf } from '../hosting/deploy-check.ts';
import { existingAt } from '../hosting/place-tree.ts';
import { copiesAt } from '../hosting/replica/copies-note.ts';
import { standbyPlace } from '../hosting/replica/copies-place.ts';
import { showBytes } from '../settings/quantities.ts';
import { claimAt, deletion } from './copies-left.ts';

interface CopiesCheck {
  home: string;
  mesh: string;
  /** The owner of this machine wants none on it. */
  isRefused: boolean;
}

/** Whether this machine can hold copies of a GitLab that another one runs, and where they would lie. Changes nothing. */
export function checkCopies(
  { data, bytes }: Ask & { kind: 'check-copies' },
  { home, mesh, isRefused }: CopiesCheck,
): Answer {
  const failed = (what: string, sentence: string, fix: string | null): Answer => ({
    kind: 'copies-checked',
    checks: [checkOf('fail', what, sentence, fix)],
  });
  if (isRefused)
    return failed(
      'owner',
      'its owner wants no copies on it, and alone changes that: takes copies: never out of autogit.yml there (or --copies never from its start) and starts its agent again',
      null,
    );
  const { path } = copiesAt(home, data);
  const left = claimAt(path);
  // Of a mesh whose GitLab this one may just have taken over, from another machine's copies.
  if (left !== null && left.mesh !== mesh)
    return failed(
      'place',
      `copies of GitLab that it held for mesh ${left.mesh.slice(0, 8)} lie in ${path}: all of it, and maybe the last of them`,
      `once nobody needs them, there: ${deletion(path, left.kind)}`,
    );
  try {
    const { place, room } = standbyPlace(path, { mesh, data });
    const { freeBytes } = diskOf(statfsSync(existingAt(place.path)));
    const spare = freeBytes - room.reserveBytes;
    const checks: DeployCheck[] = [
      {
        state: spare < bytes ? 'warn' : 'ok',
        what: 'room',
        sentence: asSentence(
          `${place.path}, ${showBytes(Math.max(0, spare))} for it${spare < bytes ? `, and GitLab may grow to ${showBytes(bytes)}` : ''}`,
        ),
        fix: null,
      },
    ];
    return { kind: 'copies-checked', checks };
  } catch (error) {
    return failed('place', sentenceOf(error), error instanceof AutogitError ? error.hint : null);
  }
}
