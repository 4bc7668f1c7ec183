import { StatusSnapshot } from '../../protocol/status.ts';
import type { Lab } from './lab.ts';
import type { LabMachine } from './lab-machine.ts';

const plainly = (text: string): string => text.trim().split('\n').at(-1) ?? '';

/** What this machine's own `autogit-node status --json` says. */
async function ask(machine: LabMachine): Promise<StatusSnapshot | string> {
  const { code, stdout, stderr } = await machine.agent.cli('status', '--json');
  if (code !== 0) return plainly(stderr);
  return StatusSnapshot.parse(JSON.parse(stdout));
}

function wordsOf(lab: Lab, machine: LabMachine, told: StatusSnapshot | string | null): string[] {
  const number = lab.number(machine);
  const faults = [
    lab.isSuspended(machine) && 'suspended',
    lab.file.unplugged.includes(machine.name) && 'unplugged',
    ...lab.file.blocked.filter(({ to }) => to === machine.name).map(({ from }) => `hears nothing of ${from}`),
  ].filter((fault) => fault !== false);
  const address = lab.lan.address(number);
  const fault = faults.join(', ') || '-';
  if (told === null)
    return [machine.name, address, machine.processes().length === 0 ? 'off' : 'no agent', '-', '-', '-', fault];
  if (typeof told === 'string') return [machine.name, address, told, '-', '-', '-', fault];
  const own = told.nodes.find((row) => row.self);
  const leads = told.leader ? `${told.leader.node} (term ${told.leader.term})` : 'nobody';
  const runs = own?.runs.join(' ') || '-';
  const gpu = own?.capacity?.gpus.map((one) => one.model).join(', ') || '-';
  return [machine.name, address, own?.state ?? '?', leads, runs, gpu, fault];
}

/** Machines, who leads as each of them sees it, runs by job id, and the faults in force; GitLab's address below. */
export async function labStatus(lab: Lab): Promise<string> {
  const rows = await Promise.all(
    lab.machines.map(async (machine) => {
      if (lab.isSuspended(machine))
        return [
          machine.name,
          lab.lan.address(lab.number(machine)),
          'suspended',
          '-',
          '-',
          '-',
          wordsOf(lab, machine, null).at(-1) ?? '',
        ];
      return wordsOf(lab, machine, machine.agents().length === 0 ? null : await ask(machine));
    }),
  );
  const table = [['MACHINE', 'ADDRESS', 'STATE', 'LEADER', 'RUNS', 'GPU', 'FAULTS'], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  const lines = table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const gitlab = lab.file.gitlab ? [`gitlab  ${lab.file.gitlab.url}  (a practice GitLab on kang; user root)`] : [];
  return [`lab ${lab.file.name}`, ...lines, ...gitlab].join('\n');
}
