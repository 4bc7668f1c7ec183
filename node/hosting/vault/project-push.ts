import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { gitWayTo, settingsInEnv } from '../../runs/git-way.ts';
import { BorrowedRepository } from './borrowed-repository.ts';
import { isObjectId, isPushed, type RefMap, refChanges } from './ref-maps.ts';

/** Where GitLab takes a push, and what opens it. */
export interface GitDoor {
  url: string;
  token: string;
}

/** A history of gigabytes takes its time; one that stands still for long is given up by git itself. */
const pushMs = 2 * 3_600_000;
const askMs = 120_000;
const stillSeconds = 900;

/** All of these refs, to a repository that has none of its own; then each is compared. Throws where one is another there. */
export async function pushAll(
  repository: string,
  refs: RefMap,
  path: string,
  { door, signal }: { door: GitDoor; signal: AbortSignal },
): Promise<void> {
  const [id] = [...refs.values()];
  if (id === undefined) return;
  const url = `${door.url.replace(/\/+$/, '')}/${path}`;
  const env = opening(door);
  const borrowed = await BorrowedRepository.of([repository], id, signal);
  try {
    await borrowed.setRefs(refs);
    const words = ['push', '--quiet', '--force', url, 'refs/heads/*:refs/heads/*', 'refs/tags/*:refs/tags/*'];
    await borrowed.git(words, { signal, timeoutMs: pushMs, env }).catch((error) => {
      throw failed('its refs could not be pushed', error);
    });
    const said = await borrowed.git(['ls-remote', '--refs', url], { signal, timeoutMs: askMs, env }).catch((error) => {
      throw failed('its refs could not be read again', error);
    });
    const { changes } = refChanges(refs, remoteRefs(said));
    if (changes.length === 0) return;
    throw new AutogitError('backup', `${changes.length} refs are not there as they were pushed: ${changes[0]?.ref}`, {
      hint: 'try it again; it is made anew',
    });
  } finally {
    await borrowed.drop();
  }
}

/** By git's own environment. Sent elsewhere it would be another's. */
function opening({ url, token }: GitDoor): NodeJS.ProcessEnv {
  const way = gitWayTo(url);
  const settings = [
    ['http.extraHeader', `Authorization: Basic ${Buffer.from(`oauth2:${token}`).toString('base64')}`],
    ['http.followRedirects', 'false'],
    ['http.lowSpeedLimit', '1'],
    ['http.lowSpeedTime', String(stillSeconds)],
    ...way.settings,
  ] as const;
  return { ...way.env, ...settingsInEnv(settings) };
}

const remoteRefs = (said: string): RefMap =>
  new Map(
    said.split('\n').flatMap((line): [string, string][] => {
      const [id = '', ref = ''] = line.split('\t');
      return isObjectId(id) && isPushed(ref) ? [[ref, id]] : [];
    }),
  );

/** git's own last words say why; the call that failed is none of them. */
function failed(what: string, error: unknown): AutogitError {
  const said = (error as { stderr?: string }).stderr?.trim().split('\n').slice(-3).join('; ') ?? '';
  return new AutogitError('backup', `${what}: ${(said === '' ? sentenceOf(error) : said).slice(0, 400)}`, {
    hint: 'see whether GitLab serves: autogit-node gitlab',
  });
}
