import { type GpuLine, type MachineCard, machineCards } from '../view/machine-cards.ts';
import type { PageState } from '../view/page-state.ts';
import { drainAct, isOwner, type PageAct, pauseAct, pauseNowAct, resumeAct } from '../view/person-acts.ts';
import { Badge, Meter, plain } from './words.tsx';

interface Props {
  state: PageState;
  ask(act: PageAct): void;
}

/** The house at a glance. */
export function Machines({ state, ask }: Props) {
  const { status, jobs } = state;
  if (status === null) return null;
  return (
    <section id="machines" aria-labelledby="machines-title">
      <h2 id="machines-title">Machines</h2>
      <ul class="cards">
        {machineCards(status, jobs).map((card) => (
          <li key={card.id} class={`card ${card.tone}`} data-node={card.node}>
            <Card card={card} ask={isOwner(state) ? ask : null} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function Card({ card, ask }: { card: MachineCard; ask: Props['ask'] | null }) {
  return (
    <>
      <header>
        <h3>{plain(card.node)}</h3>
        <Badge tone={card.tone}>{card.state}</Badge>
      </header>
      {card.badges.length > 0 && (
        <ul class="marks" aria-label={`${plain(card.node)} is`}>
          {card.badges.map((badge) => (
            <li key={badge}>{badge}</li>
          ))}
        </ul>
      )}
      {card.because !== null && <p class="because">{plain(card.because)}</p>}
      {card.cpu && <Meter label="CPU" {...card.cpu} />}
      {card.memory && <Meter label="memory" {...card.memory} tone={card.memory.percent >= 95 ? 'warn' : 'busy'} />}
      {card.disk && <Meter label="disk" {...card.disk} tone={card.disk.percent >= 90 ? 'warn' : 'busy'} />}
      {card.gpus.map((gpu) => (
        <Gpu key={gpu.uuid} gpu={gpu} />
      ))}
      {card.runs.length > 0 && (
        <p class="runs">
          runs{' '}
          {card.runs.map(({ job, name }, index) => (
            <span key={job}>
              {index > 0 && ', '}
              <a href={`#job-${job}`}>{name === null ? `job ${job}` : plain(name)}</a>
            </span>
          ))}
        </p>
      )}
      <p class="facts">
        {[card.seen, card.facts]
          .filter((one) => one !== null)
          .map(plain)
          .join(' · ')}
      </p>
      {ask && <CardActs card={card} ask={ask} />}
    </>
  );
}

const Gpu = ({ gpu }: { gpu: GpuLine }) => (
  <div class={`gpu ${gpu.tone}`}>
    <p class="model">
      {plain(gpu.model)} <span class={`holder ${gpu.tone}`}>{plain(gpu.holder)}</span>
    </p>
    {gpu.busy && <Meter label="load" {...gpu.busy} />}
    {gpu.memory && <Meter label="memory" {...gpu.memory} />}
  </div>
);

/** Pausing is the owner's, at his own machine; draining is the mesh's. */
function CardActs({ card, ask }: { card: MachineCard; ask: Props['ask'] }) {
  const { node, self, paused, drained } = card;
  if (card.state === 'waiting') return null;
  const own = !self ? [] : paused === null ? ['pause'] : paused === 'all' ? ['resume'] : ['resume', 'pause'];
  const words = [...own, drained ? 'end the drain' : 'drain'].join(', ');
  return (
    <details class="more">
      <summary aria-label={`${words}: ${plain(node)}`}>{words}</summary>
      <div class="acts">
        {self && paused !== null && <ActButton act={resumeAct(node, paused)} label="Resume" ask={ask} />}
        {self && paused !== 'all' && (
          <ActButton act={pauseAct(node, 'all', 7_200_000)} label="Pause for 2 h" ask={ask} />
        )}
        {self && paused !== 'all' && <ActButton act={pauseAct(node, 'all', null)} label="Pause" ask={ask} />}
        {self && paused === null && card.gpus.length > 0 && (
          <ActButton act={pauseAct(node, 'gpu', null)} label="Keep the GPU" ask={ask} />
        )}
        {self && card.runs.length > 0 && paused === null && card.gpus.length > 0 && (
          <ActButton act={pauseNowAct(node, 'gpu', card.runs.length)} label="Free the GPU now…" ask={ask} />
        )}
        {self && card.runs.length > 0 && (
          <ActButton act={pauseNowAct(node, 'all', card.runs.length)} label="Free the machine now…" ask={ask} />
        )}
        {drained ? (
          <ActButton act={drainAct(node, false)} label="End the drain" ask={ask} />
        ) : (
          <ActButton act={drainAct(node, true)} label="Drain…" ask={ask} />
        )}
      </div>
    </details>
  );
}

export const ActButton = ({
  act,
  label,
  ask,
  isMain = false,
}: {
  act: PageAct;
  label: string;
  ask: Props['ask'];
  isMain?: boolean;
}) => (
  <button type="button" class={isMain ? 'main' : ''} onClick={() => ask(act)}>
    {plain(label)}
  </button>
);
