import { request } from 'node:http';
import { engineSocket } from './engine-socket.ts';

const timeoutMs = 5_000;
const mostChars = 16 << 20;

/** Where the engine is: what was named, else DOCKER_HOST, else the usual sockets. `forJobs`: Podman's too, which hosts no GitLab. */
export function dockerAddress(named: string | null, { forJobs = false } = {}): string | null {
  const found = named ?? process.env.DOCKER_HOST ?? null;
  if (found) return found;
  const socket = engineSocket(forJobs);
  return socket === null ? null : `unix://${socket}`;
}

/** Whether `askEngine` knows the way. */
export const canAsk = (address: string): boolean => /^(unix|tcp|http):/.test(address);

/** One GET. No dockerode: `doctor` looks at engines that may not answer at all. */
export function askEngine(address: string, path: string): Promise<unknown> {
  const url = new URL(address.replace(/^tcp:/, 'http:'));
  const where =
    url.protocol === 'unix:' ? { socketPath: url.pathname } : { host: url.hostname, port: Number(url.port) || 2375 };
  return new Promise((resolve, reject) => {
    const sent = request({ ...where, path, agent: false, headers: { host: 'docker' } }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part: string) => {
        text += part;
        if (text.length > mostChars) sent.destroy(new Error(`an answer of more than ${mostChars >> 20} Mi characters`));
      });
      answer.on('error', reject);
      answer.on('end', () => {
        try {
          resolve(JSON.parse(text));
        } catch (error) {
          reject(error);
        }
      });
    });
    // The whole answer, however many pieces it comes in.
    const late = setTimeout(() => sent.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
    sent.on('close', () => clearTimeout(late));
    sent.on('error', reject);
    sent.end();
  });
}

/** Where the engine is asked about an image of that name: its slashes part folders, all else in it is a name. */
export const imagePath = (name: string): string => name.split('/').map(encodeURIComponent).join('/');
