import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { archName } from '../../scheduler/jobs/demand.ts';
import type { ExecutorSpec } from '../ports.ts';
import { labelStart } from './docker-container.ts';
import { isEngineAway, saidBy, statusOf, withLimit } from './docker-engine.ts';
import type { DockerImages } from './docker-images.ts';
import { isNoSpace } from './image-store.ts';
import { isSameRepository, type RegistryLogin, registryLogin, registryOf } from './registry-login.ts';
import { isNameWrong, type LookUp } from './registry-name.ts';

const missing = (image: string, cause: unknown, hint?: string): AutogitError => {
  const text = saidBy(cause);
  const isAway = hint === undefined && isSilence(text);
  return new AutogitError(
    isAway ? 'registry-away' : 'image-missing',
    `image ${image} cannot be ${hint ? 'used' : 'pulled'}: ${text}`,
    {
      cause,
      hint: hint ?? howToHave(image, text),
      ...(isAway && { server: registryOf(image) }),
    },
  );
};

/** A registry that is there and knows no such image, or not this job, is not to be made reachable. */
function howToHave(image: string, text: string): string {
  const here = `on this machine: docker pull ${image}`;
  if (/manifest unknown|not found/i.test(text))
    return `correct its name or tag in the job, or push it to ${registryOf(image)}`;
  if (refused.test(text))
    return `correct its name, or give the project a variable DOCKER_AUTH_CONFIG with a login for ${registryOf(image)} that may read it`;
  if (text === isNever) return `allow it another pull_policy, or ${here}`;
  return `make its registry reachable, name another image in the job, or ${here}`;
}
const refused = /denied|unauthorized|authentication required|no basic auth credentials/i;
const isNever = 'its pull_policy is never';

/**
 * How an engine says that it came to no registry, or to one that has no time: on another machine the same image may come. Its own
 * answer is HTTP 500 whatever the registry said, and addresses, which stand in quotes, say nothing.
 */
const noAnswer =
  /no such host|server misbehaving|connection (?:refused|reset)|timed? ?out|timeout|deadline exceeded|no route to host|network is unreachable|unexpected EOF|too ?many ?requests|rate limit|status:? (?:429|50[0234])\b|given up|does not answer within|connection to the engine broke/i;

const isSilence = (text: string): boolean => !denied.test(text) && noAnswer.test(text.replace(/"[^"]*"/g, ''));

const engineBroke = 'the connection to the engine broke';

/** A slip in the job: no machine could have it. */
const noName = (image: string, cause?: unknown, because = ''): AutogitError =>
  new AutogitError(
    'image-missing',
    image === ''
      ? 'the name of its image is empty once variables stand in it'
      : `${JSON.stringify(image.slice(0, 100))} is no name of an image${because}`,
    {
      cause,
      hint:
        image === ''
          ? 'look whether the variables in image: or services: are set for this job: GitLab gives protected ones to protected branches alone'
          : 'correct its image: or services: in the job',
    },
  );

/** Not the job's fault, nor its registry's: another machine may have room. */
const tooLarge = (image: string, cause: unknown): AutogitError =>
  new AutogitError('executor-failed', `image ${image} does not fit on the disk of this machine's Docker Engine`, {
    cause,
    hint: 'make room: docker system prune',
  });

/** A pull that sends nothing for so long is given up: the registry does not answer. */
const silenceMs = 120_000;

/** A line of the engine's progress, as far as it makes sense. */
export interface PullEvent {
  error?: unknown;
  id?: unknown;
  status?: unknown;
  progressDetail?: { current?: unknown; total?: unknown };
}

export async function pull(
  docker: Docker,
  image: string,
  login: RegistryLogin | null,
  signal: AbortSignal,
  onEvent: (event: PullEvent) => void = () => undefined,
  platform: string | null = null,
): Promise<void> {
  signal.throwIfAborted();
  const which = platform === null ? {} : { platform };
  const stream = await docker.pull(image, { ...(login && { authconfig: login }), ...which, abortSignal: signal });
  const abort = (): void => void (stream as unknown as { destroy(error?: Error): void }).destroy(new Error('given up'));
  signal.addEventListener('abort', abort, { once: true });
  let timer = setTimeout(abort, silenceMs);
  // A layer that is refused is no error of the connection: the engine says it as a line of its progress.
  let refused: string | null = null;
  try {
    await new Promise<void>((done, fail) => {
      stream.once('error', fail);
      stream.once('close', () => fail(new Error(engineBroke)));
      docker.modem.followProgress(
        stream,
        (error) => (error ? fail(error) : done()),
        (event: PullEvent) => {
          if (typeof event?.error === 'string') refused = event.error;
          onEvent(event ?? {});
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
  /** As the image says; empty: none. */
  entrypoint: string[];
}

/** A registry that is asked only whether it has something newer must answer within this; what it then has may take its time. */
const usualCheckMs = 10_000;
/** What a registry says that answered and does not give: no reason to use what another job was given. */
const denied = /denied|unauthorized|authentication required|not found|manifest unknown|does not exist/i;

/** What a job may ask for; `latest`, ours, when it asks for nothing: as `always`, but a registry that is away costs nothing. */
type PullPolicy = 'always' | 'if-not-present' | 'never' | 'latest';
const policies: readonly string[] = ['always', 'if-not-present', 'never'];

/** A job's question for its image, or for one of its services. */
interface ImageQuestion {
  docker: Docker;
  images: DockerImages;
  spec: Pick<ExecutorSpec, 'run' | 'project' | 'pullPolicies' | 'platform' | 'variables' | 'logins'>;
  image: string;
  note: (sentence: string) => void;
  signal: AbortSignal;
  /** For tests: what this machine's name servers say. */
  lookUp?: LookUp;
  /** For tests. */
  checkMs?: number;
}

/**
 * The image by the job's pull policies, tried in their order. Without one the registry is asked, as with the official
 * runner, so that `:latest` is what was pushed last; when it cannot be reached the image that is here does, and the trace
 * says so. An image that was made on this machine has no registry to ask. What another project's login brought is given
 * only when the registry lets this job in, too (security A16). Throws image-missing with the fix. The image stays until
 * `images.release`.
 */
export async function ensureImage(question: ImageQuestion): Promise<FoundImage> {
  const { spec, image, note, signal } = question;
  if (!/^[a-zA-Z0-9][\w.\-/:@]*$/.test(image)) throw noName(image);
  if (spec.platform && !/^\w+(?:\/[\w.]+){0,2}$/.test(spec.platform))
    throw new AutogitError('image-missing', `${JSON.stringify(spec.platform.slice(0, 60))} is no platform`, {
      hint: 'write it as linux/arm64',
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
      return unmarked(image, await imageBy(policy, question));
    } catch (error) {
      signal.throwIfAborted();
      if (failure !== null || order.length > 1) note(sentenceOf(error));
      failure = error;
    }
  }
  throw await asJobsOwn(failure, question);
}

/**
 * A container has the labels of its image, but where ours are set: one with a project's tree, or with GitLab's epoch, would be taken for
 * what has these by the agent after this one, or by whoever looks which GitLab runs here.
 */
function unmarked(image: string, found: ImageHere): FoundImage {
  if (found.ownLabel === null) return found;
  throw new AutogitError(
    'image-missing',
    `image ${image} has a label ${JSON.stringify(found.ownLabel.slice(0, 100))}, by which autogit-node knows its own containers`,
    { hint: 'build it without that label' },
  );
}

/** A registry's name that nobody has is a slip in the job, and none of this machine's: it is not tried again elsewhere. */
async function asJobsOwn(failure: unknown, { image, spec, lookUp }: ImageQuestion): Promise<unknown> {
  const { code, message } = failure as AutogitError;
  if (code !== 'registry-away' || !/no such host/i.test(message)) return failure;
  const registry = registryOf(image);
  const gitlab = spec.variables.find(({ key }) => key === 'CI_SERVER_HOST')?.value ?? '';
  if (!(await isNameWrong(registry, [gitlab, 'registry-1.docker.io'], lookUp))) return failure;
  return new AutogitError('image-missing', message, {
    cause: failure,
    hint: `there is no host ${registry}, and other names are found here: correct its image: or services: in the job`,
  });
}

interface ImageHere extends FoundImage {
  /** By this name it came from a registry, or was pushed to one. */
  hasRegistry: boolean;
  /** A label of it that is ours; null: it has none. */
  ownLabel: string | null;
}

/** Is it for this os/architecture[/variant]? One word alone is an architecture, as `arm64`. */
export function isOfPlatform(
  image: { Os?: string; Architecture?: string; Variant?: string },
  platform: string,
): boolean {
  const parts = platform.toLowerCase().split('/');
  const [os, architecture = '', variant] = parts.length === 1 ? [image.Os, ...parts] : parts;
  const isSame = os === image.Os && archName(architecture) === archName(image.Architecture ?? '');
  return isSame && (variant === undefined || !image.Variant || variant === image.Variant);
}

/** One for another platform counts as none: the engine keeps one of a name. */
async function look(docker: Docker, image: string, platform: string | null = null): Promise<ImageHere | null> {
  try {
    const found = await docker.getImage(image).inspect();
    if (platform && !isOfPlatform(found, platform)) return null;
    const { User = '', Entrypoint, Labels } = found.Config ?? {};
    const entrypoint = typeof Entrypoint === 'string' ? [Entrypoint] : (Entrypoint ?? []);
    const ownLabel = Object.keys(Labels ?? {}).find((label) => label.startsWith(labelStart)) ?? null;
    // One that was made here and pushed by another name, or given this one here, is at no registry by this name.
    const hasRegistry = (found.RepoDigests ?? []).some((digest) => isSameRepository(digest, image));
    return { id: found.Id, user: User, entrypoint, ownLabel, hasRegistry };
  } catch (cause) {
    if (statusOf(cause) === 404) return null;
    if (statusOf(cause) !== undefined && /invalid reference format|must be lowercase/i.test(saidBy(cause)))
      throw noName(image, cause, `: ${saidBy(cause)}`);
    throw new AutogitError('no-docker', `the engine cannot look up image ${image}`, { cause });
  }
}

/** It is here, but not for this job. */
const others = (image: string, because: string): AutogitError =>
  missing(
    image,
    new Error(`it is here, but was pulled with the login of another project, and ${because}`),
    'give the project the right to read it, and its job a login of its own (DOCKER_AUTH_CONFIG, or a registry of its own GitLab)',
  );

async function imageBy(policy: PullPolicy, question: ImageQuestion): Promise<ImageHere> {
  const { docker, images, spec, image, note, signal } = question;
  const here = await images.find(spec.run, () => look(docker, image, spec.platform));
  const isOthers = here !== null && images.records.rightOf(here.id, image, projectOf(spec)) === 'ask';
  if (policy === 'never') {
    if (here && !isOthers) return here;
    throw isOthers ? others(image, isNever) : missing(image, new Error(isNever));
  }
  // A digest names its bytes: there is nothing newer.
  const isFixed = here !== null && (!here.hasRegistry || image.includes('@'));
  if (here && (policy === 'if-not-present' || (policy === 'latest' && isFixed))) {
    if (isOthers) await askRegistry(question, here.id);
    return here;
  }
  const isCheck = here !== null && policy === 'latest';
  const registry = registryOf(image);
  const silence = isCheck && !isOthers ? images.silent.words(registry) : null;
  if (isCheck && silence !== null) {
    note(`The registry of image ${image} ${silence}: the image that is here is used`);
    return here;
  }
  const begunMs = performance.now();
  try {
    const pulled = await pullAndRecord(question, here?.id ?? null, isCheck);
    images.silent.answered(registry);
    return pulled;
  } catch (cause) {
    signal.throwIfAborted();
    const because = saidBy(cause);
    if (isSilence(because) && !because.includes(engineBroke))
      images.silent.silent(registry, performance.now() - begunMs);
    else if (denied.test(because)) images.silent.answered(registry);
    if (isNoSpace(cause) && (!isCheck || isOthers)) throw tooLarge(image, cause);
    if (!isCheck || denied.test(because)) throw missing(image, cause);
    if (isOthers && isEngineAway(cause)) throw cause;
    if (isOthers) throw others(image, `its registry cannot be asked (${because})`);
    const what = isNoSpace(cause)
      ? `A newer image ${image} cannot be kept`
      : `The registry of image ${image} cannot be asked`;
    note(`${what} (${because}): the image that is here is used`);
    return here;
  }
}

const projectOf = (spec: ImageQuestion['spec']): string => spec.project ?? '';
/** Without a tag the engine would pull all of them. */
export const wholeName = (image: string): string => (/[:@][^/]*$/.test(image) ? image : `${image}:latest`);

async function pullAndRecord(question: ImageQuestion, before: string | null, isCheck: boolean): Promise<ImageHere> {
  const { docker, images, spec, image, note, signal, checkMs = usualCheckMs } = question;
  const name = wholeName(image);
  const login = registryLogin(image, spec.variables, spec.logins);
  const late = new AbortController();
  const timer = isCheck ? setTimeout(() => late.abort(), checkMs) : undefined;
  const project = projectOf(spec);
  const known = await images.ids(docker);
  note(`Pulling image ${image}`);
  if (login !== null) images.records.begin(name, project);
  let pulled: ImageHere | null = null;
  try {
    // The first line about a tag or a layer comes when the registry has said what it has.
    const onEvent = ({ id }: PullEvent): void => void (typeof id === 'string' && clearTimeout(timer));
    await pull(docker, name, login, AbortSignal.any([signal, late.signal]), onEvent, spec.platform);
    pulled = await images.find(spec.run, () => look(docker, image, spec.platform));
    if (pulled === null) throw new Error('it is still missing after the pull');
  } catch (cause) {
    if (late.signal.aborted) throw new Error(`it does not answer within ${checkMs / 1000} s`, { cause });
    throw cause;
  } finally {
    clearTimeout(timer);
    if (pulled === null && login !== null) images.records.failed(name, project);
  }
  const { id } = pulled;
  images.records.pulled({ id, name, project, hasLogin: login !== null, wasHere: known.has(id), before });
  note(`Pulled image ${image}`);
  return pulled;
}

/** One question of the engine to the registry, with the job's own login: nothing is pulled. */
async function askRegistry(question: ImageQuestion, id: string): Promise<void> {
  const { docker, images, spec, image, note, checkMs = usualCheckMs } = question;
  note(`Image ${image} was pulled with the login of another project: asking its registry`);
  const login = registryLogin(image, spec.variables, spec.logins);
  try {
    await withLimit(docker.getImage(wholeName(image)).distribution(login ? { authconfig: login } : {}), checkMs);
  } catch (cause) {
    const isSilent = cause instanceof Error && cause.message.startsWith('no answer within');
    // An engine that is away is waited for; not so a registry.
    if (!isSilent && isEngineAway(cause)) throw cause;
    const because = isSilent ? 'it does not answer' : saidBy(cause);
    throw others(image, `its registry does not give it to this job (${because})`);
  }
  images.records.allow(id, projectOf(spec), login !== null);
}
