import { plain, SourcesFailure } from './git-command.ts';

/** What `.gitmodules` of a commit means for a job, by git's and gitlab-runner's rules. Pure. */

/** What a job wants of its submodules. */
export interface SubmoduleSpec {
  isRecursive: boolean;
  /** 0 = whole history. */
  depth: number;
  /** GIT_SUBMODULE_PATHS: paths, and `:(exclude)path`; empty: all. */
  paths: string[];
  /** Addresses by ssh become https. */
  forceHttps: boolean;
}

export interface Submodule {
  name: string;
  path: string;
  /** As `.gitmodules` has it. */
  url: string;
}

export interface ModuleAddress {
  /** Http or https, without a login. */
  url: string;
  /** GitLab's own: the job's token is for it. */
  isOwn: boolean;
}

/** Of one commit; and so deep. */
export const mostModules = 200;
export const mostDepth = 10;

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const nameShape = /^[^\x00-\x1f\x7f"\\]{1,255}$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const pathShape = /^[^\x00-\x1f\x7f"\\]{1,1024}$/;

/** Inside the tree, and nothing of git's own. */
const isInside = (path: string): boolean =>
  path.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && !/^\.git[ .]*$|^git~\d/i.test(part));

/** `git config -z --list` of a `.gitmodules`: the submodules that have a path and an address. Throws SourcesFailure. */
export function submodulesOf(listed: string): Submodule[] {
  const found = new Map<string, Partial<Submodule>>();
  for (const entry of listed.split('\0')) {
    const [, name, key] = /^submodule\.(.+)\.(path|url)$/s.exec(entry.split('\n', 1)[0] ?? '') ?? [];
    if (name === undefined || key === undefined) continue;
    const value = entry.slice(entry.indexOf('\n') + 1);
    found.set(name, { ...found.get(name), name, [key]: value });
  }
  const modules = [...found.values()].filter(
    (one): one is Submodule => one.path !== undefined && one.url !== undefined,
  );
  if (modules.length > mostModules)
    throw new SourcesFailure(`the commit has more than ${mostModules} submodules`, false);
  if (new Set(modules.map(({ path }) => path)).size < modules.length)
    throw new SourcesFailure('.gitmodules has two submodules at one path', false);
  for (const { name, path } of modules)
    if (!nameShape.test(name) || !pathShape.test(path) || !isInside(path))
      throw new SourcesFailure(`.gitmodules has a submodule at a path that is none: ${shown(path)}`, false);
  return modules;
}

const exclude = /^:(?:\(exclude\)|!)/;

/** Is this one wanted? Throws SourcesFailure for what is no plain path. */
export function isWanted(path: string, paths: readonly string[]): boolean {
  const plain = paths.map((one) => one.replace(/^(['"])(.*)\1$/, '$2'));
  const odd = plain.find((one) => /^:(?!\(exclude\)|!)|[*?[]/.test(one));
  if (odd !== undefined)
    throw new SourcesFailure(`GIT_SUBMODULE_PATHS takes paths and :(exclude)paths here, not ${shown(odd)}`, false);
  const isAt = (one: string): boolean => {
    const clean = one.replace(exclude, '').replace(/^\.\/|\/+$/g, '');
    return clean === '.' || path === clean || path.startsWith(`${clean}/`);
  };
  const only = plain.filter((one) => !exclude.test(one));
  return (only.length === 0 || only.some(isAt)) && !plain.some((one) => exclude.test(one) && isAt(one));
}

/**
 * Where a submodule is fetched. `parent`: the address of what it is in. `gitlab`: as this machine reaches it; `names`: hosts
 * by which GitLab calls itself. Throws SourcesFailure with the fix.
 */
export function addressOfModule(
  module: Submodule,
  parent: ModuleAddress,
  gitlab: string,
  names: readonly string[],
  forceHttps: boolean,
): ModuleAddress {
  const refuse = (because: string): never => {
    throw new SourcesFailure(`submodule ${shown(module.path)}: ${because}`, false);
  };
  if (/^\.\.?\//.test(module.url)) {
    const url =
      relativeTo(parent.url, module.url) ?? refuse(`its address leads out of its server: ${shown(module.url)}`);
    return { url, isOwn: parent.isOwn };
  }
  const ssh = /^(?:ssh:\/\/(?:[^@/]+@)?([^/:]+)(?::\d+)?\/|(?:[^@/:]+@)([^/:]+):\/*)(.+)$/.exec(module.url);
  const host = ssh?.[1] ?? ssh?.[2];
  if (host !== undefined && !forceHttps)
    return refuse(
      'its address is by ssh, and a job has no key: write it relative (../NAME.git), or set GIT_SUBMODULE_FORCE_HTTPS: "true"',
    );
  const isOwnHost = (name: string): boolean => names.some((one) => new URL(one).hostname === name);
  const text =
    host === undefined ? module.url : `${isOwnHost(host) ? new URL(gitlab).origin : `https://${host}`}/${ssh?.[3]}`;
  if (!URL.canParse(text)) return refuse(`its address is none: ${shown(module.url)}`);
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return refuse(`its address has ${url.protocol} only http and https are fetched`);
  const isOwn = [gitlab, ...names].some((one) => new URL(one).host === url.host);
  url.username = '';
  url.password = '';
  if (!isOwn) return { url: url.href, isOwn };
  const here = new URL(gitlab);
  Object.assign(url, { protocol: here.protocol, host: here.host, port: here.port });
  return { url: url.href, isOwn };
}

/** By git's rule: `..` takes the last part of the address away. Null when that leaves the server. */
function relativeTo(parent: string, relative: string): string | null {
  const { origin, pathname } = new URL(parent);
  const parts = pathname.split('/').filter((part) => part !== '');
  for (const part of relative.split('/')) {
    if (part === '..' && parts.pop() === undefined) return null;
    if (part !== '..' && part !== '.' && part !== '') parts.push(part);
  }
  return parts.length === 0 ? null : new URL(`${origin}/${parts.join('/')}`).href;
}

const refusedShape =
  /returned error: 40[134]|authentication failed|could not read (?:username|password)|not found|not be found|not allowed/i;

/**
 * What a person does about a submodule that its server does not give, as the end of a sentence; empty where git's words are about something
 * else. `gitlab` as in `addressOfModule`, `own`: the address of the project whose job it is.
 */
export function fixOfRefused(words: string, { url, isOwn }: ModuleAddress, gitlab: string, own: string): string {
  if (!refusedShape.test(words)) return '';
  if (!isOwn)
    return '; no token goes to another server than GitLab: make it readable without a login, or have a copy of it in GitLab';
  const base = new URL(gitlab).pathname.replace(/\/+$/, '');
  const pathOf = (address: string): string => {
    const { pathname } = new URL(address);
    return plain(
      (pathname.startsWith(`${base}/`) ? pathname.slice(base.length) : pathname).replace(/^\/|\.git\/?$/g, ''),
    );
  };
  return `; GitLab gives it to this job's token where the job's user may read ${pathOf(url)} and its list has this project: in ${pathOf(url)}, Settings > CI/CD > Job token permissions, add ${pathOf(own)}`;
}

/** Without a login. */
const shown = (text: string): string => plain(text.replace(/\/\/[^@/]*@/, '//'));
