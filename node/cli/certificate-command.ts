import { statSync } from 'node:fs';
import { AutogitError } from '../../protocol/errors.ts';
import type { DeployRequest } from '../local-api/socket-protocol.ts';
import { ipv6In } from '../settings/gitlab-hostname.ts';
import type { Settings } from '../settings/settings.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { linesOf } from './plan-lines.ts';
import { readText } from './read-text.ts';

/** Of a chain, with room. */
const pemMost = 64 << 10;
const both = '--tls-cert FILE --tls-key FILE';

/** What a shell makes of <(…) is a pipe, and who writes there may never end. */
const pipeMs = 10_000;

/** By what was wrong with a file. */
const fixes: Record<string, string> = {
  EACCES: 'sudo, or a file that you may read',
  EPERM: 'sudo, or a file that you may read',
  ENOENT: 'the path of the file, from here or from /',
};

function textOf(flag: string, path: string): string {
  try {
    const found = statSync(path);
    if (found.isCharacterDevice() || found.isBlockDevice()) throw new Error(`${path} is a device`);
    return readText(path, pemMost, pipeMs);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new AutogitError('bad-flag', `--${flag}: ${message}`, { cause, hint: fixes[code ?? ''] ?? 'a file of PEM' });
  }
}

/** Undefined where neither is named. */
function givenIn(settings: Settings): DeployRequest['tls'] {
  const [certificate, key, ca] = ['gitlab.tlsCert', 'gitlab.tlsKey', 'gitlab.tlsCa'].map((name) => settings.text(name));
  if (certificate == null && key == null && ca == null) return undefined;
  if (certificate == null || key == null)
    throw new AutogitError('bad-flag', 'a certificate and its key come together', { hint: both });
  const given = { certificate: textOf('tls-cert', certificate), key: textOf('tls-key', key) };
  return ca == null ? given : { ...given, ca: textOf('tls-ca', ca) };
}

/** What anybody of this machine may read is no secret; null where it is one, or cannot be looked at. */
export function openKey(settings: Settings): string | null {
  const path = settings.text('gitlab.tlsKey');
  try {
    if (path === null || (statSync(path).mode & 0o004) === 0) return null;
  } catch {
    return null;
  }
  return `every user of this machine can read ${path}: chmod 600, and take a new key where that matters`;
}

const https = 'https://';

function namedBy(named: string | null): Pick<DeployRequest, 'hostname' | 'ipv6'> {
  const ipv6 = named === null ? null : ipv6In(named);
  return ipv6 === null ? { hostname: named } : { hostname: null, ipv6 };
}

/** Of its web pages. Throws `bad-flag`: of those of ssh 0 means none, and a GitLab without pages is none. */
export function pagesPort(settings: Settings): number {
  const port = settings.number('gitlab.port') as number;
  if (port === 0)
    throw new AutogitError('bad-flag', "--port 0 is none, and GitLab's pages need one", { hint: '--port 8080' });
  return port;
}

/** What `--hostname`, `--port` and the two files say of the address: they fit each other, or are refused. Throws `bad-flag`. */
export function addressIn(settings: Settings): Pick<DeployRequest, 'hostname' | 'ipv6' | 'port' | 'httpPort' | 'tls'> {
  const named = settings.text('gitlab.hostname');
  const isSecure = named?.toLowerCase().startsWith(https) ?? false;
  const isGiven = ['gitlab.tlsCert', 'gitlab.tlsKey', 'gitlab.tlsCa'].some((name) => settings.text(name) !== null);
  const given = isSecure ? givenIn(settings) : undefined;
  const port = pagesPort(settings);
  const httpPort = settings.number('gitlab.httpPort') ?? 0;
  if (!isSecure && isGiven)
    throw new AutogitError('bad-flag', 'a certificate is for an address of https', {
      hint: 'name it so: --hostname https://git.example.org',
    });
  if (!isSecure && httpPort !== 0)
    throw new AutogitError('bad-flag', 'nothing leads from http to http', {
      hint: '--port says where its pages are; --http-port goes with an address of https',
    });
  if (named === null || !isSecure) return { ...namedBy(named), port };
  if (given === undefined)
    throw new AutogitError('bad-flag', `${named} needs a certificate of that name, and none is made here`, {
      hint: `${both}; a proxy of yours in front is the other way, docs/host-gitlab.md`,
    });
  return {
    ...namedBy(named.slice(https.length)),
    port: settings.source('gitlab.port') === 'default' ? 8443 : port,
    ...(httpPort !== 0 && { httpPort }),
    tls: given,
  };
}

/** For an address that has to speak http. Throws `bad-flag`. */
export function plainHostname(settings: Settings): string | null {
  const named = settings.text('gitlab.hostname');
  if (named !== null && ipv6In(named) !== null)
    throw new AutogitError('bad-flag', `a GitLab is taken over by a name or an address of IPv4, and ${named} is none`, {
      hint: 'a name of your DNS that leads there, as its gate listens on IPv6 too',
    });
  if (named?.toLowerCase().startsWith(https))
    throw new AutogitError('bad-flag', `a GitLab is taken over by http, and ${named} is an address of https`, {
      hint: `take it over as ${named.slice(https.length)}; then uninstall it, which keeps its data, and deploy those as ${named}`,
    });
  return named;
}

/** `gitlab certificate`: which one GitLab's address has, or another one from now on. */
export async function certificate(context: Context): Promise<number> {
  const { settings, out } = context;
  const given = givenIn(settings) ?? null;
  const open = given && openKey(settings);
  if (open !== null) linesOf(context).warn('certificate', open);
  const answer = await (await agentOf(context)).gitlabCertificate({ given });
  const { url, issuer, endsAt, words } = answer;
  if (settings.isOn('json')) out.json({ url, issuer, endsAt });
  else out.data(`${url}: ${words}`);
  return exit.ok;
}
