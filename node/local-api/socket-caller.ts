import { readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';

/** By which a command says which process it is. */
export const pidHeader = 'autogit-pid';

/**
 * Who speaks on agent.sock: the user of the process that the command names, and who logged in, where that is another one (sudo). The
 * kernel's own word on the other end of a socket is not to be had from Node.js; who may open the socket could name another process of
 * this machine, and nobody else can.
 */
export function callerOf(header: string | string[] | undefined): string {
  const pid = typeof header === 'string' && /^\d{1,10}$/.test(header) ? header : null;
  if (pid === null) return `a program of ${userInfo().username}'s socket`;
  try {
    const user = nameOf(statSync(`/proc/${pid}`).uid);
    const login = Number(readFileSync(`/proc/${pid}/loginuid`, 'utf8'));
    // 2^32 - 1: nobody logged in, it is a service or a container.
    const who = Number.isInteger(login) && login < 4_294_967_295 ? nameOf(login) : user;
    return who === user ? user : `${who} (as ${user})`;
  } catch {
    return `process ${pid}, which is gone`;
  }
}

/** As /etc/passwd has it; the number where it does not. */
function nameOf(uid: number): string {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((one) => one.split(':')[2] === String(uid));
  return line?.split(':')[0]?.slice(0, 64) ?? `user ${uid}`;
}
