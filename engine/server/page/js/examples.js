// @ts-check
/** Animals that Menagerie's training never saw: its first held-out ones, not picked. */
export const EXAMPLES = [
  { file: "/page/examples/luna.png", name: "Luna", prompt: "a standing cat at night" },
  { file: "/page/examples/pip.png", name: "Pip", prompt: "a lying rabbit in the forest" },
  { file: "/page/examples/finn.png", name: "Finn", prompt: "a sitting dog at night" },
  { file: "/page/examples/honey.png", name: "Honey", prompt: "a sitting bear in the forest" },
];
