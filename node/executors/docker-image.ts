import type Docker from 'dockerode';
import { z } from 'zod';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { ExecutorSpec } from '../ports.ts';

const registryOf = (image: string): string => {
  const first = image.split('/')[0] as string;
  const named = image.includes('/') && (/[.:]/.test(first) || first === 'localhost');
  return named ? first : 'docker.io';
};

const AuthFile = z.object({
  auths: z.record(z.string(), z.object({ auth: z.string().optional() })).optional(),
});

export interface RegistryLogin {
  username: string;
  password: string;
  serveraddress: string;
}

/** The login that a job brings for its image's registry: DOCKER_AUTH_CONFIG, or GitLab's own registry by CI_REGISTRY. */
export function registryLogin(image: string, variables: ExecutorSpec['variables']): RegistryLogin | null {
  const value = (key: string): string | undefined => variables.findLast((variable) => variable.key === key)?.value;
  const registry = registryOf(image);
  const plain = (address: string): string => address.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  const isSame = (address: string): boolean =>
    plain(address) === registry || (registry === 'docker.io' && plain(address) === 'index.docker.io');
  const config = value('DOCKER_AUTH_CONFIG');
  if (config !== undefined) {
    let parsed: z.infer<typeof AuthFile> = {};
    try {
      parsed = AuthFile.parse(JSON.parse(config));
    } catch {
      // A job's own mistake: the pull then says that the registry wants a login.
    }
    for (const [address, { auth }] of Object.entries(parsed.auths ?? {})) {
      if (auth === undefined || !isSame(address)) continue;
      const [username = '', ...password] = Buffer.from(auth, 'base64').toString('utf8').split(':');
      return { username, password: password.join(':'), serveraddress: address };
    }
  }
  const [address, username, password] = [
    value('CI_REGISTRY'),
    value('CI_REGISTRY_USER'),
    value('CI_REGISTRY_PASSWORD'),
  ];
  if (address && username && password && isSame(address)) return { username, password, serveraddress: address };
  return null;
}

const statusOf = (error: unknown): number | undefined => (error as { statusCode?: number }).statusCode;

const missing = (image: string, cause: unknown): AutogitError => {
  const text = sentenceOf(cause);
  return new AutogitError('image-missing', `image ${image} cannot be pulled: ${text}`, {
    cause,
    hint: `make its registry reachable, name another image in the job, or on this machine: docker pull ${image}`,
  });
};

/** A pull that sends nothing for so long is given up: the registry does not answer. */
const silenceMs = 120_000;

async function pull(docker: Docker, image: string, login: RegistryLogin | null, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const stream = await docker.pull(image, { ...(login && { authconfig: login }), abortSignal: signal });
  const abort = (): void => void (stream as unknown as { destroy(error?: Error): void }).destroy(new Error('given up'));
  signal.addEventListener('abort', abort, { once: true });
  let timer = setTimeout(abort, silenceMs);
  // A layer that is refused is no error of the connection: the engine says it as a line of its progress.
  let refused: string | null = null;
  try {
    await new Promise<void>((done, fail) => {
      stream.once('error', fail);
      stream.once('close', () => fail(new Error('the connection to the engine broke')));
      docker.modem.followProgress(
        stream,
        (error) => (error ? fail(error) : done()),
        (event: { error?: unknown }) => {
          if (typeof event?.error === 'string') refused = event.error;
          clearTimeout(timer);
          timer = setTimeout(abort, silenceMs);
        },
      );
    });
    if (refused !== null) throw new Error(refused);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}

export interface FoundImage {
  id: string;
  /** As the image says: empty, a name, a number, or either with a group. */
  user: string;
}

/** A registry that is asked only whether it has something newer must answer within this. */
const checkMs = 10_000;
/** What a registry says that answered and does not give: no reason to use what another job was given. */
const denied = /denied|unauthorized|authentication required|not found|manifest unknown|does not exist/i;

/** What a job may ask for; `latest`, ours, when it asks for nothing: as `always`, but a registry that is away costs nothing. */
type PullPolicy = 'always' | 'if-not-present' | 'never' | 'latest';
const policies: readonly string[] = ['always', 'if-not-present', 'never'];

/**
 * The image by the job's pull policies, tried in their order. Without one the registry is asked, as with the official
 * runner, so that `:latest` is what was pushed last; when it cannot be reached the image that is here does, and the trace
 * says so. An image that was made on this machine has no registry to ask. Throws image-missing with the fix.
 */
export async function ensureImage(
  docker: Docker,
  spec: ExecutorSpec,
  image: string,
  note: (sentence: string) => void,
  signal: AbortSignal,
): Promise<FoundImage> {
  if (!/^[a-zA-Z0-9][\w.\-/:@]*$/.test(image))
    throw new AutogitError('image-missing', `${JSON.stringify(image.slice(0, 100))} is no name of an image`, {
      hint: 'correct image: in the job',
    });
  const wanted = spec.pullPolicies ?? [];
  const unknown = wanted.find((policy) => !policies.includes(policy));
  if (unknown !== undefined)
    throw new AutogitError('image-missing', `pull_policy ${JSON.stringify(unknown.slice(0, 40))} is not known`, {
      hint: `use one of ${policies.join(', ')}`,
    });
  const order = wanted.length > 0 ? (wanted as PullPolicy[]) : (['latest'] as const);
  let failure: unknown = null;
  for (const policy of order) {
    try {
      return await imageBy(policy, docker, spec, image, note, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (failure !== null || order.length > 1) note((error as Error).message);
      failure = error;
    }
  }
  throw failure;
}

interface ImageHere extends FoundImage {
  /** It came from a registry, or was pushed to one. */
  hasRegistry: boolean;
}

async function look(docker: Docker, image: string): Promise<ImageHere | null> {
  try {
    const found = await docker.getImage(image).inspect();
    return { id: found.Id, user: found.Config?.User ?? '', hasRegistry: (found.RepoDigests ?? []).length > 0 };
  } catch (cause) {
    if (statusOf(cause) === 404) return null;
    throw new AutogitError('no-docker', `the engine cannot look up image ${image}`, { cause });
  }
}

async function imageBy(
  policy: PullPolicy,
  docker: Docker,
  spec: ExecutorSpec,
  image: string,
  note: (sentence: string) => void,
  signal: AbortSignal,
): Promise<FoundImage> {
  const here = await look(docker, image);
  if (policy === 'never') {
    if (here) return here;
    throw missing(image, new Error('its pull_policy is never'));
  }
  if (here && policy === 'if-not-present') return here;
  // A digest names its bytes: there is nothing newer.
  const isFixed = here !== null && (!here.hasRegistry || image.includes('@'));
  if (here && policy === 'latest' && isFixed) return here;
  note(`Pulling image ${image}`);
  const isCheck = here !== null && policy === 'latest';
  try {
    // Without a tag the engine would pull all of them.
    const whole = /[:@][^/]*$/.test(image) ? image : `${image}:latest`;
    const limit = isCheck ? AbortSignal.any([signal, AbortSignal.timeout(checkMs)]) : signal;
    await pull(docker, whole, registryLogin(image, spec.variables), limit);
  } catch (cause) {
    signal.throwIfAborted();
    const because = sentenceOf(cause);
    if (!isCheck || denied.test(because)) throw missing(image, cause);
    note(`The registry of image ${image} cannot be asked (${because}): the image that is here is used`);
    return here;
  }
  const pulled = await look(docker, image);
  if (!pulled) throw missing(image, new Error('it is still missing after the pull'));
  note(`Pulled image ${image}`);
  return pulled;
}
