import type { JobPayload, JobService } from './payload.ts';
import { expand, type RunVariable } from './variables.ts';

/** What `services:` of a job means, by gitlab-runner's rules (contract §1.3). Pure. */

/** A container beside the job's own. */
export interface PlannedService {
  /** With the job's variables in it, and a version. */
  image: string;
  /** As the trace names it: `postgres:16`; `postgres:16 (db-2)` where there are two of it. */
  title: string;
  /** By which the job reaches it; the first ones are made of the image's name. Never empty. */
  aliases: string[];
  /** Null: the image's own; `['']`: none. */
  entrypoint: string[] | null;
  /** Empty: the image's own. */
  command: string[];
  /** Null: the image's own. */
  user: string | null;
  /** os/architecture[/variant]; null: the engine's own. */
  platform: string | null;
  pullPolicies: string[];
  environment: { key: string; value: string }[];
}

export interface PlannedServices {
  services: PlannedService[];
  /** What is not done as it was asked for, in sentences. */
  warnings: string[];
}

/** Linux takes no longer word in an environment. */
const mostVariableBytes = 128 << 10;
const mostAliases = 50;

interface ImageName {
  /** Without version, digest and the registry's port. */
  service: string;
  version: string;
  /** With a version, so that not all of them are pulled. */
  image: string;
}

/** `registry.lab:5000/group/db` is service `registry.lab/group/db`, version `latest`. */
function imageName(name: string): ImageName {
  const at = name.indexOf('@');
  const tagged = at < 0 ? name : name.slice(0, at);
  const colon = tagged.indexOf(':', tagged.lastIndexOf('/') + 1);
  const bare = colon < 0 ? tagged : tagged.slice(0, colon);
  const version = colon < 0 ? (at < 0 ? 'latest' : name.slice(at)) : tagged.slice(colon + 1);
  const image = colon < 0 && at < 0 ? `${name}:latest` : name;
  return { service: bare.replace(/^([^/]+?):\d+(?=\/)/, '$1'), version, image };
}

/** Both forms of an image's own names, then those that the job gives: a list with commas or spaces between. */
function aliasesOf({ service }: ImageName, alias: string): string[] {
  const own = alias.split(/[\s,]+/).filter((name) => name !== '');
  return [...new Set([service.replaceAll('/', '__'), service.replaceAll('/', '-'), ...own.slice(0, mostAliases)])];
}

const titleOf = ({ service, version }: ImageName): string =>
  version.startsWith('@') ? `${service}${version}` : `${service}:${version}`;

/** An engine in a container of the job's, as most files have it that build images. */
const isEngine = ({ service, version }: ImageName): boolean =>
  /(?:^|\/)docker$/.test(service) && /(?:^|-)dind(?:-|$)/.test(version);
const noEngine = (title: string): string =>
  `Service ${title} needs to be privileged, which no job is here: it will end. Images are built by kaniko, or on a machine whose owner gives these jobs its engine (tag engine): docs/build-images.md`;

/** `variables`: all of the job's, expanded, once the place is known; `lookUp` finds one as a name or a path means it. */
export function plannedServices(
  payload: JobPayload,
  variables: readonly RunVariable[],
  lookUp: (key: string) => string | null,
): PlannedServices {
  const taken = new Set<string>();
  const services: PlannedService[] = [];
  const warnings: string[] = [];
  for (const [index, asked] of payload.services.entries()) {
    const name = imageName(expand(asked.name ?? '', lookUp));
    const title = titleOf(name);
    const aliases = aliasesOf(name, expand(asked.alias ?? '', lookUp));
    const free = aliases.filter((alias) => !taken.has(alias));
    for (const alias of aliases)
      if (taken.has(alias))
        warnings.push(
          `Skipping alias "${alias}" for service "${title}" (services[${index}]): alias is already in use by another service`,
        );
    if (free.length === 0) {
      warnings.push(`Service ${title} is not started a second time: give each one an alias of its own`);
      continue;
    }
    for (const alias of free) taken.add(alias);
    if (isEngine(name)) warnings.push(noEngine(title));
    const { environment, leftOut } = environmentOf(payload, asked, variables, lookUp);
    if (leftOut.length > 0)
      warnings.push(`Variables that no program can be given, not set in service ${title}: ${leftOut.join(', ')}`);
    services.push({
      image: name.image,
      title,
      aliases: free,
      entrypoint: asked.entrypoint ?? null,
      command: asked.command ?? [],
      user: expand(asked.executor_opts?.docker?.user ?? '', lookUp) || null,
      platform: expand(asked.executor_opts?.docker?.platform ?? '', lookUp) || null,
      pullPolicies: asked.pull_policy ?? [],
      environment,
    });
  }
  return { services: told(services), warnings };
}

/** Of two of one image each is named with what the job calls it. */
const told = (services: readonly PlannedService[]): PlannedService[] =>
  services.map((one) => {
    const isAlone = services.every((other) => other === one || other.title !== one.title);
    return isAlone ? one : { ...one, title: `${one.title} (${one.aliases.at(-1)})` };
  });

/**
 * The job's public variables and the runner's own, then the service's. What GitLab calls not public (tokens, variables of
 * the project's settings) a service gets only where one of its own variables names it.
 */
function environmentOf(
  payload: JobPayload,
  service: JobService,
  variables: readonly RunVariable[],
  lookUp: (key: string) => string | null,
): { environment: PlannedService['environment']; leftOut: string[] } {
  const sent = new Map(payload.variables.map((variable) => [variable.key, variable]));
  const isPublic = (key: string): boolean => !sent.has(key) || sent.get(key)?.public === true;
  const environment = new Map<string, string>();
  for (const { key, file, value } of variables)
    if (isPublic(key)) environment.set(key, file ? (lookUp(key) ?? '') : value);
  const own = new Map(service.variables.map(({ key, value }) => [key, value]));
  for (const { key, value, raw } of service.variables) {
    const find = (name: string): string | null => (name === key ? null : own.get(name)) ?? lookUp(name);
    environment.set(key, raw ? value : expand(value, find));
  }
  const leftOut: string[] = [];
  for (const [key, value] of environment)
    if (
      key === '' ||
      /[=\0]/.test(key) ||
      value.includes('\0') ||
      key.length + Buffer.byteLength(value) > mostVariableBytes - 2
    ) {
      leftOut.push(key);
      environment.delete(key);
    }
  return { environment: [...environment].map(([key, value]) => ({ key, value })), leftOut };
}
