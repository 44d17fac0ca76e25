"""What operations runs beside the program: alarms and dashboards, made from the catalogue of metrics."""
