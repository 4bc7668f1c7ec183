import { z } from 'zod';
import { AutogitError } from '../../protocol/errors.ts';
import type { ServiceHost } from './service-host.ts';

/** Nobody but the gate's user reaches the container's network (SAFETY H1): so it is asked from within, by its own curl. */
const questionMs = 10_000;

interface Question {
  method?: 'GET' | 'PUT' | 'POST';
  path: string;
  token?: string;
  body?: unknown;
}

interface Answer {
  /** 0: nobody answered. */
  status: number;
  body: string;
}

const quoted = (text: string): string =>
  `"${text.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n').replace(/\r/g, '\\r')}"`;

/** curl's own file of options, by its input: a token must not be an argument. */
function curlConfig({ method = 'GET', path, token, body }: Question): string {
  const lines = [
    `url = ${quoted(`http://127.0.0.1${path}`)}`,
    `request = ${method}`,
    'silent',
    `max-time = ${questionMs / 1000}`,
    'write-out = "\\n%{http_code}"',
    ...(token === undefined ? [] : [`header = ${quoted(`PRIVATE-TOKEN: ${token}`)}`]),
    ...(body === undefined
      ? []
      : ['header = "Content-Type: application/json"', `data-raw = ${quoted(JSON.stringify(body))}`]),
  ];
  return `${lines.join('\n')}\n`;
}

/** Asks GitLab's web server in its container. Throws `no-docker`, `executor-failed`, `timed-out`. */
export async function askInside(host: Pick<ServiceHost, 'exec'>, id: string, question: Question): Promise<Answer> {
  const { out } = await host.exec(id, ['curl', '--config', '-'], {
    input: curlConfig(question),
    timeoutMs: questionMs + 5000,
  });
  const [, body = '', status = '0'] = /^([\s\S]*)\n(\d{3})\s*$/.exec(out) ?? [];
  return { status: Number(status), body };
}

/**
 * Whether it works, and not only listens: people's first page, the API up to its refusal of who brings no token, and
 * GitLab's own word on its database, Redis and repositories. Null when all do; else what does not, in words.
 */
export async function problemInside(host: Pick<ServiceHost, 'exec'>, id: string): Promise<string | null> {
  const says = ({ status }: Answer): string => (status === 0 ? 'does not answer' : `answers ${status}`);
  const page = await askInside(host, id, { path: '/users/sign_in' });
  if (page.status !== 200 && page.status !== 302) return `its sign-in page ${says(page)}`;
  const api = await askInside(host, id, { path: '/api/v4/version' });
  if (api.status !== 401) return `its API ${says(api)}`;
  const ready = await askInside(host, id, { path: '/-/readiness?all=1' });
  if (ready.status === 200) return null;
  const failed = failedChecks(ready.body);
  return failed.length > 0 ? `it says that ${failed.join(', ')} failed` : `its readiness ${says(ready)}`;
}

const Ready = z.record(z.string().max(64), z.unknown());

function failedChecks(body: string): string[] {
  try {
    return Object.entries(Ready.parse(JSON.parse(body)))
      .filter(([, checks]) => Array.isArray(checks) && checks.some(({ status }) => status !== 'ok'))
      .map(([name]) => name.replace(/_check$/, ''))
      .slice(0, 5);
  } catch {
    return [];
  }
}

/** GitLab's own no, to that token. That it does not answer says nothing. */
export async function isRefusedInside(host: ServiceHost, id: string, token: string): Promise<boolean> {
  return (await askInside(host, id, { path: '/api/v4/user', token })).status === 401;
}

/** As GitLab says it itself; null without a token that it takes. Throws `gitlab-answer`. */
export async function versionInside(
  host: Pick<ServiceHost, 'exec'>,
  id: string,
  token: string | null,
): Promise<string | null> {
  if (token === null) return null;
  const { status, body } = await askInside(host, id, { path: '/api/v4/version', token });
  if (status === 401 || status === 403) return null;
  if (status !== 200) throw new AutogitError('gitlab-answer', `GitLab answered ${status} at /version`);
  return z.object({ version: z.string().max(64) }).parse(JSON.parse(body)).version;
}

/** What GitLab says of itself to an admin. Throws `gitlab-refused`, `gitlab-answer`. */
export async function factsInside(
  host: ServiceHost,
  id: string,
  token: string,
): Promise<{ version: string; instance: string | null }> {
  const ask = async <T>(path: string, Shape: z.ZodType<T>): Promise<T> => {
    const { status, body } = await askInside(host, id, { path: `/api/v4${path}`, token });
    if (status === 401 || status === 403)
      throw new AutogitError('gitlab-refused', `GitLab answered ${status} to the token that was just made, at ${path}`);
    if (status !== 200) throw new AutogitError('gitlab-answer', `GitLab answered ${status} at ${path}`);
    return Shape.parse(JSON.parse(body));
  };
  const { version } = await ask('/version', z.object({ version: z.string().max(64) }));
  const { is_admin } = await ask('/user', z.object({ is_admin: z.boolean().nullish() }));
  if (is_admin !== true) throw new AutogitError('gitlab-refused', 'the token that was just made is of no admin');
  // Not every GitLab tells its uuid; a job's payload does.
  const Settings = z.object({ uuid: z.string().max(128).nullish(), instance_uuid: z.string().max(128).nullish() });
  const { uuid, instance_uuid } = await ask('/application/settings', Settings);
  return { version, instance: uuid ?? instance_uuid ?? null };
}
