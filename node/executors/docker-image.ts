import type Docker from 'dockerode';
import { z } from 'zod';
import { AutogitError } from '../../protocol/errors.ts';
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
  const text = cause instanceof Error ? cause.message : String(cause);
  return new AutogitError('image-missing', `image ${image} is not here and cannot be pulled: ${text}`, {
    cause,
    hint: `on this machine: docker pull ${image}; or make its registry reachable, or name another image in the job`,
  });
};

/** A pull that sends nothing for so long is given up: the registry does not answer. */
const silenceMs = 120_000;

async function pull(docker: Docker, image: string, login: RegistryLogin | null, signal: AbortSignal): Promise<void> {
  const stream = await docker.pull(image, login ? { authconfig: login } : {});
  const abort = (): void => void (stream as unknown as { destroy(error?: Error): void }).destroy(new Error('given up'));
  signal.addEventListener('abort', abort, { once: true });
  let timer = setTimeout(abort, silenceMs);
  try {
    await new Promise<void>((done, fail) => {
      stream.once('error', fail);
      stream.once('close', () => fail(new Error('the connection to the engine broke')));
      docker.modem.followProgress(
        stream,
        (error) => (error ? fail(error) : done()),
        () => {
          clearTimeout(timer);
          timer = setTimeout(abort, silenceMs);
        },
      );
    });
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

/** The image, pulled when the engine lacks it. Throws image-missing with the fix. */
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
  const look = async (): Promise<FoundImage | null> => {
    try {
      const found = await docker.getImage(image).inspect();
      return { id: found.Id, user: found.Config?.User ?? '' };
    } catch (cause) {
      if (statusOf(cause) === 404) return null;
      throw new AutogitError('no-docker', `the engine cannot look up image ${image}`, { cause });
    }
  };
  const here = await look();
  if (here) return here;
  note(`Pulling image ${image}`);
  try {
    // Without a tag the engine would pull all of them.
    const whole = /[:@][^/]*$/.test(image) ? image : `${image}:latest`;
    await pull(docker, whole, registryLogin(image, spec.variables), signal);
  } catch (cause) {
    signal.throwIfAborted();
    throw missing(image, cause);
  }
  const pulled = await look();
  if (!pulled) throw missing(image, new Error('it is still missing after the pull'));
  note(`Pulled image ${image}`);
  return pulled;
}
