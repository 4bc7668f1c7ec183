import { randomBytes } from 'node:crypto';
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
  /** GitLab's nginx is told who asks (PROXY protocol). Left out: both ways are tried. */
  tellsClient?: boolean;
  /** Only its status is wanted. */
  isBodyLeft?: boolean;
}

interface Answer {
  /** 0: nobody answered. */
  status: number;
  body: string;
  /** Which way it was asked in the end. */
  tellsClient: boolean;
}

const quoted = (text: string): string =>
  `"${text.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n').replace(/\r/g, '\\r')}"`;

/** curl's own file of options, by its input: a token must not be an argument. Behind each answer comes the mark, with its status. */
function curlConfig(questions: readonly Question[], mark: string, tellsClient: boolean): string {
  const asked = questions.map(({ method = 'GET', path, token, body, isBodyLeft = false }) =>
    [
      `url = ${quoted(`http://127.0.0.1${path}`)}`,
      `request = ${method}`,
      'silent',
      ...(tellsClient ? ['haproxy-protocol'] : []),
      ...(isBodyLeft ? ['output = "/dev/null"'] : []),
      `max-time = ${questionMs / 1000}`,
      `write-out = "\\n${mark} %{http_code}"`,
      ...(token === undefined ? [] : [`header = ${quoted(`PRIVATE-TOKEN: ${token}`)}`]),
      ...(body === undefined
        ? []
        : ['header = "Content-Type: application/json"', `data-raw = ${quoted(JSON.stringify(body))}`]),
    ].join('\n'),
  );
  return `fail-early\n${asked.join('\nnext\n')}\n`;
}

/**
 * Asks GitLab's web server in its container. One that was made before the gate told GitLab its clients, or whose owner set
 * `nginx['proxy_protocol']` to false in gitlab.rb, takes the PROXY line for a request and answers 400, having done nothing: it
 * is asked again without. Never the other way round: no answer may be the answer to a question that was obeyed. Throws
 * `no-docker`, `executor-failed`, `timed-out`.
 */
export async function askInside(host: Pick<ServiceHost, 'exec'>, id: string, question: Question): Promise<Answer> {
  const [answer] = await askAllInside(host, id, [question]);
  return answer;
}

type Questions = readonly [Question, ...Question[]];
type Answers<Asked extends Questions> = { [At in keyof Asked]: Answer };

/**
 * The same of several, in their order, by one program: each that is begun in a container costs more than most questions. The first one
 * says for all how they have to be asked; behind one that nobody answered none is asked.
 */
async function askAllInside<const Asked extends Questions>(
  host: Pick<ServiceHost, 'exec'>,
  id: string,
  questions: Asked,
): Promise<Answers<Asked>> {
  const { tellsClient } = questions[0];
  const told = await askOnce(host, id, questions, tellsClient ?? true);
  if (told[0].status !== 400 || tellsClient !== undefined) return told;
  const plain = await askOnce(host, id, questions, false);
  return plain[0].status === 0 ? told : plain;
}

async function askOnce<const Asked extends Questions>(
  host: Pick<ServiceHost, 'exec'>,
  id: string,
  questions: Asked,
  tellsClient: boolean,
): Promise<Answers<Asked>> {
  // Nobody who answers knows it, so no answer holds it.
  const mark = randomBytes(12).toString('hex');
  const { out } = await host.exec(id, ['curl', '--config', '-'], {
    input: curlConfig(questions, mark, tellsClient),
    timeoutMs: questionMs * questions.length + 5000,
  });
  const parts = out.split(new RegExp(`\\n${mark} (\\d{3})`));
  const answers = questions.map((_, at): Answer => {
    const [body = '', status] = parts.slice(2 * at, 2 * at + 2);
    return status === undefined ? { status: 0, body: '', tellsClient } : { status: Number(status), body, tellsClient };
  });
  return answers as Answers<Asked>;
}

/**
 * Whether it works, and not only listens: people's first page, the API up to its refusal of who brings no token, and
 * GitLab's own word on its database, Redis and repositories. `problem` is null when all do; else what does not, in words. Which
 * way its nginx answered the first of them is how the gate has to reach it, also while GitLab behind it is not well; null
 * where it did not answer.
 */
export async function lookInside(
  host: Pick<ServiceHost, 'exec'>,
  id: string,
): Promise<{ problem: string | null; tellsClient: boolean | null }> {
  const says = ({ status }: Answer): string => (status === 0 ? 'does not answer' : `answers ${status}`);
  const [page, api, ready] = await askAllInside(host, id, [
    { path: '/users/sign_in', isBodyLeft: true },
    { path: '/api/v4/version', isBodyLeft: true },
    { path: '/-/readiness?all=1' },
  ]);
  const { tellsClient } = page;
  // 400 to the one is what comes of asking the wrong way, where the other was not answered.
  const isProof = page.status !== 0 && !(page.status === 400 && tellsClient);
  const is = (problem: string | null) => ({ problem, tellsClient: isProof ? tellsClient : null });
  if (page.status !== 200 && page.status !== 302) return is(`its sign-in page ${says(page)}`);
  if (api.status !== 401) return is(`its API ${says(api)}`);
  if (ready.status === 200) return is(null);
  const failed = failedChecks(ready.body);
  return is(failed.length > 0 ? `it says that ${failed.join(', ')} failed` : `its readiness ${says(ready)}`);
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
