import { render } from "preact";
import "../shared/base.css";
import "./dashboard.css";
import { choose, chosen } from "../shared/theme";
import { App } from "./app";

choose(chosen());
render(<App />, document.getElementById("app")!);
