import type { Answer } from '../../protocol/asks.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { addressAtFirst, type HostedAddress } from '../../scheduler/hosting/hosted-edits.ts';
import { checkOf } from '../hosting/deploy-check.ts';
import type { DeployPlan, DeployRequest } from '../local-api/socket-protocol.ts';

export type Checked = Extract<Answer, { kind: 'deploy-checked' }>;

/** As a person named it; else as it is best reached. */
export const addressOf = (
  ledger: Ledger,
  wish: DeployRequest,
  found: Checked,
): Pick<HostedAddress, 'hostname' | 'ipv6'> =>
  addressAtFirst(ledger, wish, { ...found, isKnown: found.place?.data != null });

/** What no machine finds by a look at itself. */
export function addressLines({ nodes }: Ledger, address: string, found: Checked): DeployPlan['lines'] {
  const line = (state: 'ok' | 'warn', sentence: string, fix: string | null = null) => [
    checkOf(state, 'address', sentence, fix),
  ];
  if (address === found.name)
    return line(
      'ok',
      `${address}, the mesh's own name, by which the LAN finds GitLab wherever it runs; a computer that finds no such names takes ${found.address}, and --hostname ${found.address} has all do so`,
    );
  const others = Object.keys(nodes).length - 1;
  if (!/^(127\.|localhost$|::1$)/.test(address) || others === 0)
    return line('ok', `${address}, by which every machine of the mesh and every browser reaches it`);
  const whose = others === 1 ? 'machine' : `${others} machines`;
  const sentence = `${address} is this machine's own: the other ${whose} cannot reach it`;
  return line('warn', sentence, 'name one that all reach: --hostname NAME');
}
