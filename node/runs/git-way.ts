import { ownCaOf } from '../../gitlab-bridge/own-ca.ts';
import { byAddress, gitResolveOf } from '../../gitlab-bridge/own-place.ts';

/** `http.curloptResolve` is of 2.37. */
let isOldGit = false;

/** What `git --version` says. */
export function heardGitVersion(text: string): void {
  const [, major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(text) ?? []).map(Number);
  isOldGit = major > 0 && (major < 2 || (major === 2 && minor < 37));
}

/** As git reads them from its environment: what stands among arguments everybody on the machine may read. */
export const settingsInEnv = (settings: readonly (readonly [key: string, value: string])[]): Record<string, string> =>
  Object.fromEntries([
    ['GIT_CONFIG_COUNT', String(settings.length)],
    ...settings.flatMap(([key, value], index) => [
      [`GIT_CONFIG_KEY_${index}`, key],
      [`GIT_CONFIG_VALUE_${index}`, value],
    ]),
  ]);

interface GitWay {
  settings: [string, string][];
  env: NodeJS.ProcessEnv;
  /** By which git goes there: what is set for one address is set for this. */
  origin: string;
}

/**
 * By what git finds GitLab's address and believes it, whatever this machine's DNS and certificates say: the mesh knows its own GitLab. For
 * every git of ours that goes there.
 */
export function gitWayTo(url: string): GitWay {
  const { origin } = new URL(url);
  const settings: [string, string][] = [];
  const resolve = gitResolveOf(url);
  if (resolve !== null) settings.push(['http.curloptResolve', resolve]);
  const led = isOldGit ? byAddress(url) : null;
  if (led !== null) settings.push([`url.${led}/.insteadOf`, `${origin}/`]);
  const ca = ownCaOf(url);
  return { settings, env: ca === null ? {} : { GIT_SSL_CAINFO: ca.file }, origin: led ?? origin };
}
