// Cards and commands in JupyterLab. It is what a bundler would make of an extension, as Lab loads
// one, but written by hand: no Node is needed to build or to install it.
"use strict";

let shared;

async function load(name) {
  const versions = Object.values(shared[name]);
  return (await versions[0].get())();
}

async function plugin() {
  const names = ["apputils", "coreutils", "launcher", "ui-components"];
  const [apputils, coreutils, launchers, icons] = await Promise.all(
    names.map((name) => load(`@jupyterlab/${name}`)),
  );
  const { PageConfig } = coreutils;
  const cards = [
    ["Report", "The page of the newest run", icons.fileIcon, showReport],
    ["Plan", "Which steps of params/default.yaml would run, and why", icons.listIcon, inTerminal("plan")],
    ["Run", "Run params/default.yaml", icons.runIcon, inTerminal("run")],
    ["MLflow", "Serve MLflow's pages, at the address that is printed", icons.launchIcon, inTerminal("ui")],
  ];

  function showReport(app) {
    const sandbox = ["allow-scripts", "allow-same-origin", "allow-popups"];
    const content = new apputils.IFrame({ sandbox });
    content.url = `${PageConfig.getBaseUrl()}taxi-nb/runs/latest/index.html`;
    content.title.label = "Report";
    app.shell.add(new apputils.MainAreaWidget({ content }), "main");
  }

  function inTerminal(word) {
    return async (app) => {
      const { session } = (await app.commands.execute("terminal:create-new")).content;
      const content = [`${PageConfig.getOption("taxiNb")} ${word}\r`];
      const send = () => {
        if (session.connectionStatus === "connected") {
          session.connectionStatusChanged.disconnect(send);
          session.send({ type: "stdin", content });
        }
      };
      session.connectionStatusChanged.connect(send);
      send();
    };
  }

  return {
    id: "taxi-nb:cards",
    autoStart: true,
    optional: [launchers.ILauncher, apputils.ICommandPalette],
    activate(app, launcher, palette) {
      cards.forEach(([label, caption, icon, act], rank) => {
        const command = `taxi-nb:${label.toLowerCase()}`;
        app.commands.addCommand(command, { label, caption, icon, execute: () => act(app) });
        launcher?.add({ command, category: "taxi-nb", rank });
        palette?.addItem({ command, category: "taxi-nb" });
      });
    },
  };
}

window._JUPYTERLAB ??= {};
window._JUPYTERLAB["taxi-nb"] = {
  init(scope) {
    shared = scope;
  },
  async get() {
    const found = await plugin();
    return () => ({ __esModule: true, default: found });
  },
};
