import { z } from 'zod';
import type { ExecutorSpec } from '../ports.ts';

/** What the engine is given for a registry. */
export interface RegistryLogin {
  username?: string;
  password?: string;
  identitytoken?: string;
  registrytoken?: string;
  serveraddress: string;
}

/** As docker's `config.json` has it. */
const AuthFile = z.object({
  auths: z
    .record(
      z.string(),
      z.object({
        auth: z.string().nullish(),
        username: z.string().nullish(),
        password: z.string().nullish(),
        identitytoken: z.string().nullish(),
        registrytoken: z.string().nullish(),
      }),
    )
    .nullish(),
  credsStore: z.string().nullish(),
  credHelpers: z.record(z.string(), z.string()).nullish(),
});
type AuthFile = z.infer<typeof AuthFile>;
type Variables = ExecutorSpec['variables'];

const valueIn = (variables: Variables, key: string): string | undefined =>
  variables.findLast((variable) => variable.key === key)?.value;

function authFileOf(variables: Variables): AuthFile | null {
  const text = valueIn(variables, 'DOCKER_AUTH_CONFIG')?.trim() ?? '';
  if (text === '') return {};
  try {
    return AuthFile.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** What a job's DOCKER_AUTH_CONFIG asks for in vain, in a sentence for its trace; null where all of it is used. */
export function authProblem(variables: Variables): string | null {
  const file = authFileOf(variables);
  if (file === null) return 'DOCKER_AUTH_CONFIG is not what docker has in its config.json: no login of it is used';
  if (!file.credsStore && Object.keys(file.credHelpers ?? {}).length === 0) return null;
  return 'DOCKER_AUTH_CONFIG: credsStore and credHelpers name programs of this machine, which no job may begin: put its logins under auths';
}

/** `host/path`, by gitlab-runner's rules: an old address with a protocol is its host alone, Docker's own index is docker.io. */
function placeOf(address: string): string {
  const isOld = /^https?:\/\//i.test(address);
  const path = address.replace(/^https?:\/\//i, '').replace(/\/+$/, '');
  const [host = '', ...rest] = path.split('/');
  const name = host.toLowerCase();
  if (name === 'index.docker.io') return 'docker.io';
  return [name, ...(isOld ? [] : rest)].join('/').replace(/(\/[^/:]*):[^/]*$/, '$1');
}

/** An image's registry and path, without tag and digest. */
function placeOfImage(image: string): string {
  const bare = image.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
  const first = bare.split('/')[0] as string;
  const isNamed = bare.includes('/') && (/[.:]/.test(first) || first === 'localhost');
  return placeOf(isNamed ? bare : `docker.io/${bare}`);
}

export const registryOf = (image: string): string => (placeOfImage(image).split('/')[0] as string).slice(0, 255);

/** Of two names of images, each with or without tag and digest: is it one place of one registry? `alpine` is `docker.io/library/alpine`. */
export const isSameRepository = (one: string, other: string): boolean => {
  const place = (image: string): string => placeOfImage(image).replace(/^docker\.io\/library\//, 'docker.io/');
  return place(one) === place(other);
};

function decoded(address: string, entry: NonNullable<NonNullable<AuthFile['auths']>[string]>): RegistryLogin | null {
  const [username = '', ...password] = Buffer.from(entry.auth ?? '', 'base64')
    .toString('utf8')
    .replace(/\0+$/, '')
    .split(':');
  const login = {
    ...(entry.auth ? { username, password: password.join(':') } : {}),
    ...(!entry.auth && entry.username ? { username: entry.username, password: entry.password ?? '' } : {}),
    ...(entry.identitytoken && { identitytoken: entry.identitytoken }),
    ...(entry.registrytoken && { registrytoken: entry.registrytoken }),
  };
  return Object.keys(login).length === 0 ? null : { ...login, serveraddress: address };
}

/**
 * The login that a job brings for an image: of its own DOCKER_AUTH_CONFIG, of GitLab's registry by CI_REGISTRY, and of what GitLab gives
 * with the job, such as its dependency proxy. The one for the longest part of the image's path counts, of several for the same place
 * the first in this order. Logins of this machine's people are no job's.
 */
export function registryLogin(
  image: string,
  variables: Variables,
  logins: ExecutorSpec['logins'] = [],
): RegistryLogin | null {
  const found = new Map<string, RegistryLogin>();
  const add = (address: string, login: RegistryLogin | null): void => {
    const place = placeOf(address);
    if (login !== null && !found.has(place)) found.set(place, login);
  };
  for (const [address, entry] of Object.entries(authFileOf(variables)?.auths ?? {}))
    add(address, decoded(address, entry));
  const [address, username, password] = ['CI_REGISTRY', 'CI_REGISTRY_USER', 'CI_REGISTRY_PASSWORD'].map((key) =>
    valueIn(variables, key),
  );
  if (address && username && password) add(address, { username, password, serveraddress: address });
  for (const { url, ...given } of logins) add(url, { ...given, serveraddress: url });
  for (let place = placeOfImage(image); place !== ''; place = place.slice(0, Math.max(0, place.lastIndexOf('/')))) {
    const login = found.get(place);
    if (login) return login;
  }
  return null;
}
