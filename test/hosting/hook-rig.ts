import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hookText } from '../../node/hosting/push/push-hook.ts';

/** The product's server hook, in one repository. */
export function installHook(repository: string, socket: string): void {
  writeFileSync(join(repository, 'hooks', 'post-receive'), hookText(socket), { mode: 0o755 });
}

/** What the gate does, for a push that does not come through one: refs are told only when no push waits for its round. */
export function writeHeldReceivePack(path: string, socket: string): void {
  const text = hookText(socket)
    .replace('1 while <STDIN>;\n', '')
    .replace('"round\\nwords', '"settled\\nwords')
    .replace('exit 0;', "exec 'git-receive-pack', @ARGV;");
  writeFileSync(path, text, { mode: 0o755 });
}
